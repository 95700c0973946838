"""The proof that a site's own facts are safe, made offline before they are signed. Pure: no clock, no file, no network."""
