"""Applications on Bemi's own packages, each a script of its own: they write rows with context, and read the changes table.

    python bemi_apps.py django|sqlalchemy write|read URL [URL of the changes table]

Runs under an interpreter that has bemi-django, or bemi-sqlalchemy and starlette, and psycopg2; prints JSON.
"""

import json
import sys
from urllib.parse import urlsplit


def django_database(url):
    parts = urlsplit(url)
    return {"ENGINE": "django.db.backends.postgresql", "NAME": parts.path[1:], "USER": parts.username, "HOST": parts.hostname,
            "PORT": parts.port}


def django_setup(url, changes):
    import django
    from django.conf import settings
    settings.configure(DATABASES={"default": django_database(url), "bemi": django_database(changes)}, INSTALLED_APPS=["bemi"],
                       DATABASE_ROUTERS=["bemi.BemiDatabaseRouter"], USE_TZ=True, BEMI_CONTEXT_FUNCTION="__main__.context",
                       DEFAULT_AUTO_FIELD="django.db.models.AutoField")
    django.setup()


def todo_of_django():
    from bemi import BemiRecordMixin
    from django.db import models

    class Todo(BemiRecordMixin, models.Model):
        task = models.CharField(max_length=100)
        done = models.BooleanField(default=False)

        class Meta:
            app_label, db_table = "todos", "todo"

    return Todo


def context(request):
    return {"user_id": 7, "path": request}


def write_django():
    from bemi import Bemi, BemiMiddleware
    from django.db import connection
    with connection.cursor() as cursor:
        cursor.execute(Bemi.migration_up())

    def view(request):
        row = todo_of_django()(task="Eat")
        row.save()
        row.done = True
        row.save()
        row.delete()
        return row.task

    return BemiMiddleware(view)("/todos")


def read_django():
    from bemi.models import BemiChange
    record = todo_of_django()(id=1)
    return {"created": BemiChange.objects.created().count(), "deleted": BemiChange.objects.deleted().count(),
            "by_user": BemiChange.objects.context({"user_id": 7}).count(),
            "by_others": BemiChange.objects.context_not({"user_id": 7}).count(),
            "done": BemiChange.objects.after({"done": True}).count(),
            "not_done_before": BemiChange.objects.before_not({"done": True}).updated().count(),
            "of_record": record.bemi_changes().count(), "field": record.bemi_changes("done").updated().count(),
            "order": [change.operation for change in BemiChange.objects.asc()],
            "diff": BemiChange.objects.updated().get().diff(),
            "sql": all("SQL" in change.context for change in BemiChange.objects.all())}


def run_sqlalchemy(what, url, changes):
    import alembic
    from bemi import Bemi
    from sqlalchemy import create_engine, text
    if what == "write":
        engine = create_engine(url.replace("postgres://", "postgresql+psycopg2://"))
        with engine.begin() as connection:
            from alembic.migration import MigrationContext
            from alembic.operations import Operations
            alembic.op._proxy = Operations(MigrationContext.configure(connection))
            Bemi.migration_upgrade()
        Bemi.set_context({"user_id": 8, "path": "/alchemy"})
        with engine.begin() as connection:
            connection.execute(text("INSERT INTO todo (task) VALUES (:task)"), {"task": "Sleep"})
            connection.execute(text("UPDATE todo SET done = true WHERE task = :task"), {"task": "Sleep"})
        return "written"
    with create_engine(changes.replace("postgres://", "postgresql+psycopg2://")).begin() as connection:
        return [[operation, context] for operation, context in connection.execute(
            text("SELECT operation, context FROM changes ORDER BY committed_at, position"))]


def main():
    package, what, url, changes = sys.argv[1:5]
    if package == "django":
        django_setup(url, changes)
        print(json.dumps(write_django() if what == "write" else read_django()))
    else:
        print(json.dumps(run_sqlalchemy(what, url, changes)))


if __name__ == "__main__":
    main()
