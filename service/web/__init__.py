"""The Quart app: admission, upgrade, pages and metrics."""
