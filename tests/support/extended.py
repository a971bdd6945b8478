"""Stands in for psql in recorded shells: a client that uses the extended query protocol, through libpq.

Called as psql is (-h FOLDER -p PORT -U USER -d DATABASE, whatever stands before them is its own); its input is Python lines
for exec(), which have run(sql, *values), prepare(name, sql), execute(name, *values), copy_in(sql, data); each prints what
came of it.
"""

import ctypes
import sys


def main():
    lib = ctypes.CDLL("libpq.so.5")
    text, pointer, number = ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int
    for name, result, *arguments in [
            ("PQconnectdb", pointer, text), ("PQstatus", number, pointer), ("PQerrorMessage", text, pointer),
            ("PQprepare", pointer, pointer, text, text, number, pointer), ("PQexec", pointer, pointer, text),
            ("PQexecParams", pointer, pointer, text, number, pointer, pointer, pointer, pointer, number),
            ("PQexecPrepared", pointer, pointer, text, number, pointer, pointer, pointer, number),
            ("PQresultStatus", number, pointer), ("PQresStatus", text, number), ("PQresultErrorField", text, pointer, number),
            ("PQntuples", number, pointer), ("PQnfields", number, pointer), ("PQgetvalue", text, pointer, number, number),
            ("PQcmdTuples", text, pointer), ("PQputCopyData", number, pointer, text, number),
            ("PQputCopyEnd", number, pointer, text), ("PQgetResult", pointer, pointer), ("PQclear", None, pointer),
            ("PQfinish", None, pointer)]:
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    words = dict(zip(sys.argv[-8::2], sys.argv[-7::2]))
    connection = lib.PQconnectdb(f"host={words['-h']} port={words['-p']} user={words['-U']} dbname={words['-d']}".encode())
    if lib.PQstatus(connection) != 0:
        sys.exit(lib.PQerrorMessage(connection).decode())

    def told(result):
        status = lib.PQresStatus(lib.PQresultStatus(result)).decode().removeprefix("PGRES_").lower()
        state = lib.PQresultErrorField(result, ord("C"))
        rows = [tuple(lib.PQgetvalue(result, row, column).decode() for column in range(lib.PQnfields(result)))
                for row in range(lib.PQntuples(result))]
        print(status, state.decode() if state else lib.PQcmdTuples(result).decode(), rows, flush=True)
        lib.PQclear(result)
        return status

    def array(values):
        return (text * max(len(values), 1))(*[str(value).encode() for value in values])

    def run(sql, *values):
        return told(lib.PQexecParams(connection, sql.encode(), len(values), None, array(values), None, None, 0))

    def simple(sql):
        return told(lib.PQexec(connection, sql.encode()))

    def prepare(name, sql):
        return told(lib.PQprepare(connection, name.encode(), sql.encode(), 0, None))

    def execute(name, *values):
        return told(lib.PQexecPrepared(connection, name.encode(), len(values), array(values), None, None, 0))

    def copy_in(sql, data):
        run(sql)
        lib.PQputCopyData(connection, data.encode(), len(data.encode()))
        lib.PQputCopyEnd(connection, None)
        while result := lib.PQgetResult(connection):
            told(result)

    for line in sys.stdin:
        exec(line, {"run": run, "prepare": prepare, "execute": execute, "copy_in": copy_in, "simple": simple})
    lib.PQfinish(connection)


if __name__ == "__main__":
    main()
