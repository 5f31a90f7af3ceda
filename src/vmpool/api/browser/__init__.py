"""What browsers need beside the API: sessions held by a cookie, and the dashboard's files."""
