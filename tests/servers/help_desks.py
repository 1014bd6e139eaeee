"""Request Tracker and Redmine of Debian on free loopback ports, each with a database of its own; started as root only."""

import os
import shutil
import signal
import sqlite3
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from tests.servers.portal_process import wait_for
from tests.servers.ports import free_port, new_folder

_RT_PROGRAMS = Path("/usr/share/request-tracker5")
_RT_DATABASE = Path("/var/lib/dbconfig-common/sqlite3/request-tracker5/rtdb")
_REDMINE = Path("/usr/share/redmine")
_REDMINE_DATABASE = Path("/var/lib/dbconfig-common/sqlite3/redmine/instances/default/redmine_default")
REDMINE_KEY = "key-for-incoming-mail-4Lw"

_RT_SITE = """
Set($rtname, 'x.test');
Set($Organization, 'x.test');
Set($DatabaseType, 'SQLite');
Set($DatabaseName, '{folder}/database');
Set($WebDomain, '127.0.0.1');
Set($WebPort, {port});
Set($WebPath, '');
Set($LogToSTDERR, 'warning');
Set($LogToSyslog, undef);
Set($MailCommand, 'testfile');
1;
"""
_RT_RIGHTS = """
use RT -init;
my $queue = RT::Queue->new(RT->SystemUser);
$queue->Load('General');
my $everyone = RT::Group->new(RT->SystemUser);
$everyone->LoadSystemInternalGroup('Everyone');
$everyone->PrincipalObj->GrantRight(Right => $_, Object => $queue) for qw(CreateTicket ReplyToTicket);
"""
_REDMINE_PROJECT = """
Setting.mail_handler_api_enabled = 1
Setting.mail_handler_api_key = '{key}'
Redmine::DefaultData::Loader.load('en') if Redmine::DefaultData::Loader.no_data?
project = Project.create!(:name => 'Help desk', :identifier => 'helpdesk')
project.trackers = Tracker.all
project.enable_module!(:issue_tracking)
"""


class HelpDesk:
    """A help desk that runs as www-data."""

    #: Returns the subjects of the tickets.
    query: str
    cwd: Path | None = None

    def __init__(self, database: Path, environment: dict[str, str]) -> None:
        self.folder, self.port = new_folder(), free_port()
        shutil.copy(database, self.folder / "database")
        shutil.chown(self.folder, "www-data", "www-data")
        shutil.chown(self.folder / "database", "www-data")
        self.environment = {"HOME": str(self.folder), "PATH": os.environ["PATH"], **environment}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def subjects(self) -> list[str]:
        with closing(sqlite3.connect(self.folder / "database")) as database:
            return [subject for (subject,) in database.execute(self.query)]

    def run(self, *command: str | Path) -> None:
        subprocess.run(self._as_user(*command), check=True, capture_output=True, cwd=self.cwd)

    @contextmanager
    def served_by(self, *command: str | Path) -> Iterator[None]:
        with open(self.folder / "log", "wb") as log:
            process = subprocess.Popen(
                self._as_user(*command), stdout=log, stderr=log, start_new_session=True, cwd=self.cwd
            )
        try:
            wait_for(self._answers, 60, (self.folder / "log").read_text)
            yield
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(20)

    def _answers(self) -> bool:
        with suppress(OSError):
            urllib.request.urlopen(self.url, timeout=20).close()
            return True
        return False

    def _as_user(self, *command: str | Path) -> list[str]:
        variables = [f"{name}={value}" for name, value in self.environment.items()]
        return [
            "setpriv",
            "--reuid=www-data",
            "--regid=www-data",
            "--init-groups",
            "env",
            "-i",
            *variables,
            *map(str, command),
        ]


class RequestTracker(HelpDesk):
    query = "SELECT Subject FROM Tickets ORDER BY id"

    @classmethod
    @contextmanager
    def started(cls) -> Iterator["RequestTracker"]:
        desk = cls(_RT_DATABASE, {})
        (desk.folder / "parts").mkdir()
        site = desk.folder / "site.pm"
        site.write_text(_RT_SITE.format(folder=desk.folder, port=desk.port))
        desk.environment |= {"RT_SITE_CONFIG": str(site), "RT_SITE_CONFIG_DIR": str(desk.folder / "parts")}
        desk.run("perl", f"-I{_RT_PROGRAMS / 'lib'}", "-e", _RT_RIGHTS)
        with desk.served_by(_RT_PROGRAMS / "libexec" / "rt-server", "--host", "127.0.0.1", "--port", str(desk.port)):
            yield desk


class Redmine(HelpDesk):
    query = "SELECT subject FROM issues ORDER BY id"
    cwd = _REDMINE

    @classmethod
    @contextmanager
    def started(cls) -> Iterator["Redmine"]:
        desk = cls(_REDMINE_DATABASE, {"X_DEBIAN_SITEID": "default", "RAILS_ENV": "production"})
        desk.environment["DATABASE_URL"] = f"sqlite3:{desk.folder}/database"
        desk.run("bin/rails", "runner", _REDMINE_PROJECT.format(key=REDMINE_KEY))
        with desk.served_by("puma", "-e", "production", "-b", f"tcp://127.0.0.1:{desk.port}", "config.ru"):
            yield desk


def installed() -> bool:
    return os.getuid() == 0 and _RT_DATABASE.exists() and _REDMINE_DATABASE.exists()
