"""The browser app: one reader of the library, never the place where work happens. `ui.page` puts it together."""
