"""The API calls, one file a subject; ui/api.py offers them."""
