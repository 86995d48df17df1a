"""The statistics: arrays and frames in, arrays and frames out. They know nothing of models, files
or DVC; `cje.stats.analysis` is the way in."""
