"""The console: pages for people, made on the server, on top of the HTTP API and the read role."""
