"""Watch connection: the connection over which one server is polled."""

from florin.kit.postgres.pool import Connection, open_connection


class WatchConnection:
    """Opened when it is first needed, and again after `end`."""

    def __init__(self, dsn: str, *, name: str, settings: str = "") -> None:
        self._dsn = dsn
        self._name = name
        self._settings = settings
        self._connection: Connection | None = None

    async def get(self) -> Connection:
        """The open connection. `settings` is a statement that runs once it is opened."""
        connection = self._connection
        if connection is None:
            connection = self._connection = await open_connection(self._dsn, name=self._name)
            if self._settings:
                await connection.execute(self._settings)
        return connection

    def end(self) -> None:
        """Drop the connection without waiting for its server."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
