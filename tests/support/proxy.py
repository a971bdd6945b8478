"""A TCP relay in front of a server that can cut all connections at once, as a flaky network does."""

import socket
import threading


class Proxy:
    """Listens on a free port of this machine; target may be set later, as "host:port"."""

    def __init__(self):
        self.target = None
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.lock, self.open, self.cuts = threading.Lock(), set(), 0
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            try:
                host, port = self.target.rsplit(":", 1)
                server = socket.create_connection((host, int(port)))
            except OSError:
                client.close()
                continue
            with self.lock:
                self.open |= {client, server}
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self.relay, args=(source, sink), daemon=True).start()

    def relay(self, source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass
        self.end({source, sink})

    def end(self, sockets):
        with self.lock:
            ended, self.open = self.open & sockets, self.open - sockets
        for one in ended:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            one.close()

    def cut(self):
        """Ends every connection, whatever is on its way."""
        with self.lock:
            sockets = set(self.open)
        self.cuts += 1 if sockets else 0
        self.end(sockets)

    def close(self):
        self.listener.close()
        self.cut()
