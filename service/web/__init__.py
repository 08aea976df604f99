"""The Quart apps: admission, upgrade, pages, metrics and what operators do."""
