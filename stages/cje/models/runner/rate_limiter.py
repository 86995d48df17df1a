"""Rate limits: calls and tokens a minute, evenly spaced."""

import asyncio
import time


class RateLimiter:
    """At most `per_minute` units in a minute, spaced so that no burst passes it; None: no limit."""

    def __init__(self, per_minute: float | None):
        self.per_minute = per_minute
        self.free_at = 0.0

    async def take(self, units: float = 1.0) -> None:
        """Wait until the units may be used."""
        if self.per_minute is None:
            return
        now = time.monotonic()
        start = max(now, self.free_at)
        self.free_at = start + 60.0 * units / self.per_minute
        if start > now:
            await asyncio.sleep(start - now)
