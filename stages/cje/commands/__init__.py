"""The commands of `cje`, a module each: `add` says its options, the rest does its work."""
