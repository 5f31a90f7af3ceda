"""The product from outside: the installed command and the SDK against a server of its own."""
