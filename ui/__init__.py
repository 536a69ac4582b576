"""The browser app: one reader of the library, never the place where work happens. `app.py` starts it; `ui.page` is it."""
