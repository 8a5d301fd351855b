"""The stack in containers: as good as without them, hardened, and undisturbed by what is done to it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from ropewalk.kernel.hide import _forms
from ropewalk.local.airflow import USER

from tests.browsers import logged_in, needs_chromium, see_report
from tests.compose.conftest import FIGURES, Project, run, until

STAGES = ("collect", "process", "analyze", "store", "present")
AIRFLOW = ("api-server", "scheduler", "dag-processor", "triggerer")
SERVICES = ("postgres", *STAGES, *(f"airflow-{name}" for name in AIRFLOW), "weather")
HTTP, FLIGHT, POSTGRES = 8080, 8815, 5432

# Who may open a connection to whom; all else must fail.
Target = tuple[str, int]
TASKS = {(stage, port) for stage in STAGES for port in (HTTP, FLIGHT)}
LEDGER, API, WEATHER = ("postgres", POSTGRES), ("airflow-api-server", HTTP), ("weather", HTTP)
REACHES = {
    "postgres": {API, *TASKS},
    "weather": {("collect", HTTP), ("collect", FLIGHT)},
    "collect": {LEDGER, API, WEATHER, *TASKS},
    "process": {LEDGER, API, *TASKS},
    "analyze": {LEDGER, API, *TASKS},
    "store": {LEDGER, API, *TASKS},
    "present": {LEDGER, API, *TASKS},
    "airflow-api-server": {LEDGER, API, *TASKS},
    "airflow-scheduler": {LEDGER, API, *TASKS},
    "airflow-triggerer": {LEDGER, API, *TASKS},
    "airflow-dag-processor": {LEDGER, API},
}
NOBODYS = {
    ("airflow-scheduler", 8974),
    ("airflow-scheduler", 8793),
    ("airflow-triggerer", 8794),
}  # health, logs
TARGETS = sorted({LEDGER, API, WEATHER, *TASKS, *NOBODYS})
LISTENS = {
    **{name: {HTTP, FLIGHT} for name in STAGES},
    **{f"airflow-{name}": set[int]() for name in AIRFLOW},
    "airflow-api-server": {HTTP},
    "postgres": {POSTGRES},
    "weather": {HTTP},
}
CONNECT = """
for target in "$@"; do
    ((n++ % 8)) || wait  # a container may have few processes
    (timeout 3 bash -c "exec 3<>/dev/tcp/${target/:/\\/}" 2>/dev/null && echo "$target") &
done
wait
"""
FIRST, SECOND = "2013-01-01", "2013-01-02"
THIRD, THIRDS = "2013-01-03", 914
FLIGHTS = {FIRST: 842, SECOND: 943}  # departures of those days
BATCH = {"2013-01-04": 915, "2013-01-05": 720, "2013-01-06": 832}


def reached(stack: Project, service: str, targets: list[Target]) -> set[Target]:
    """Which of the targets a service's container can open a connection to."""
    words = [f"{host}:{port}" for host, port in targets]
    told = stack.execute(service, "bash", "-c", CONNECT, "bash", *words)
    pairs = (line.rpartition(":") for line in told.split())
    return {(host, int(port)) for host, _, port in pairs}


def addresses(stack: Project, service: str) -> list[str]:
    """The addresses of a service's container, in every network that it is in."""
    (one,) = stack.containers(service)
    return [network["IPAddress"] for network in one["NetworkSettings"]["Networks"].values()]


def days(stack: Project) -> dict[str, int]:
    """How many departures each day has that was published."""
    rows = stack.query("SELECT (time_hour AT TIME ZONE 'America/New_York')::date, count(*)"
                       " FROM flights.departures GROUP BY 1 ORDER BY 1")  # fmt: skip
    return {day: int(count) for day, count in rows}


def test_a_day_runs_and_its_report_is_shown(stack: Project) -> None:
    run_id = stack.trigger("flights_daily", FIRST)
    assert stack.finish("flights_daily", run_id) == "success"
    assert days(stack) == {FIRST: FLIGHTS[FIRST]}
    key = (stack.folder / "containers/secrets/present/ropewalk_view_token").read_text()
    page = f"http://127.0.0.1:{stack.present_port}/reports/flights_daily/latest/"
    assert httpx.get(page, trust_env=False).status_code == 401
    with httpx.Client(follow_redirects=True, trust_env=False, timeout=60) as viewer:
        shown = viewer.get(page, params={"key": key})
    assert shown.is_success
    assert "New York departures" in shown.text
    with stack.session as session:
        inside = session.get(
            str(session.base_url).replace("/api/v2/", f"/ropewalk/report/flights_daily/{run_id}/")
        )
    assert inside.is_success, inside.text
    assert "New York departures" in inside.text


@needs_chromium
def test_a_browser_sees_the_report_of_the_day_in_airflow(stack: Project) -> None:
    run_id = next(iter(stack.runs("flights_daily")))
    airflow = stack.airflow
    with logged_in(airflow.url, USER, airflow.password) as page:
        page.goto(f"/dags/flights_daily/runs/{run_id}")
        see_report(page)


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_is_hardened(stack: Project, service: str) -> None:
    (one,) = stack.containers(service)
    host, state = one["HostConfig"], one["State"]
    assert state["Health"]["Status"] == "healthy"
    assert one["Config"]["User"] == ("postgres" if service == "postgres" else "10001:10001")
    assert (host["ReadonlyRootfs"], host["Privileged"], host["CapDrop"]) == (True, False, ["ALL"])
    assert not host["CapAdd"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["Memory"] > 0
    assert host["NanoCpus"] > 0
    assert host["PidsLimit"] > 0
    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    assert host["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "3"}
    published = [
        bound["HostIp"] for all_ in (host["PortBindings"] or {}).values() for bound in all_
    ]
    assert set(published) <= {"127.0.0.1"}
    assert bool(published) == (service in {"airflow-api-server", "present"})


ATTEMPTS = (
    ("begins", "cp /bin/true /tmp/true && chmod 6755 /tmp/true"),
    (
        "has-a-program-of-root",
        "test -u /usr/bin/mount",
    ),  # by setuid, which no-new-privileges forbids it
    ("mounts", "/usr/bin/mount -t tmpfs none /tmp"),
    ("has-a-user-namespace", "unshare --user --map-root-user true"),
    ("runs-from-tmp", "/tmp/true"),  # noqa: S108 - the container's own
    ("runs-a-script-from-tmp", "echo exit 0 >/tmp/true && /tmp/true"),
    ("writes-to-the-image", "touch /opt/x"),
    ("writes-to-etc", "touch /etc/x"),
    ("writes-over-a-program", "cp /bin/true /usr/bin/id"),
    ("sets-the-clock", "date -s 2013-01-01"),
    ("makes-a-device", "mknod /tmp/null c 1 3"),
    ("changes-the-kernel", "echo 1 >/proc/sys/kernel/sysrq"),
)


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_can_do_little(stack: Project, service: str) -> None:
    """What the settings say holds inside: no capability, no way to any, nothing written beside volumes."""
    script = "id -u; grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/self/status"
    uid, *status = stack.execute(service, "sh", "-c", script).splitlines()
    assert uid != "0"
    assert dict(line.split(":\t") for line in status) == {
        "CapEff": "0" * 16,
        "CapBnd": "0" * 16,
        "NoNewPrivs": "1",
    }
    (tmp,) = stack.execute(service, "grep", " /tmp ", "/proc/mounts").splitlines()
    assert {"noexec", "nosuid", "nodev"} <= set(tmp.split()[3].split(","))
    lines = [f"({attempt}) >/dev/null 2>&1 </dev/null && echo {name}" for name, attempt in ATTEMPTS]
    done = stack.execute(service, "sh", "-c", "\n".join([*lines, "rm -f /tmp/true"])).split()
    assert done == ["begins", "has-a-program-of-root"]  # and nothing after


def test_no_secret_is_where_anyone_may_look(stack: Project) -> None:
    """Neither in what the engine tells of a container, nor in an image, nor in a log."""
    places = {
        "settings": json.dumps(stack.containers()),
        "logs": stack.compose("logs", "--no-color"),
        "image": run(["docker", "history", "--no-trunc", f"ropewalk-airflow:{stack.name}"]),
    }
    assert told_in(places, secrets_of(stack)) == []


def secrets_of(stack: Project) -> dict[str, str]:
    """Every secret of the installation by its name; of a key in PEM, the key alone."""
    file = stack.folder / "containers" / "secrets.json"
    values: dict[str, str] = json.loads(file.read_text())
    return {name: text.splitlines()[1 if "\n" in text else 0] for name, text in values.items()}


def told_in(places: dict[str, str], secrets: dict[str, str]) -> list[tuple[str, str]]:
    """Which secret is told in which place, in whatever form."""
    return [
        (name, place)
        for name, secret in secrets.items()
        for place, text in places.items()
        if any(form in text for form in _forms(secret))
    ]


@pytest.fixture(scope="module")
def places(stack: Project) -> dict[Target, list[Target]]:
    """Every target by all of its addresses: a name that is not known to all hides nothing."""
    return {(name, port): [(ip, port) for ip in addresses(stack, name)] for name, port in TARGETS}


@pytest.mark.parametrize("service", SERVICES)
def test_the_networks_let_through_what_they_must_and_no_more(
    stack: Project, places: dict[Target, list[Target]], service: str
) -> None:
    others = {target: at for target, at in places.items() if target[0] != service}
    open_ = reached(stack, service, [place for at in others.values() for place in at])
    found = {target for target, at in others.items() if open_ & set(at)}
    assert found == {target for target in REACHES[service] if target[0] != service}


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_listens_to_others_where_it_must(stack: Project, service: str) -> None:
    """What only the container itself asks, such as the scheduler's health, is on its loopback."""
    told = stack.execute(service, "cat", "/proc/net/tcp", "/proc/net/tcp6")
    sockets = [line.split() for line in told.splitlines() if ":" in line.split()[0]]
    listening = [socket[1].split(":") for socket in sockets if socket[3] == "0A"]
    found = {int(port, 16) for address, port in listening if not is_loopback(address)}
    assert found == LISTENS[service]


def is_loopback(address: str) -> bool:
    """Of an address as /proc/net/tcp has it: words of four bytes, each the wrong way round."""
    v4 = address.removeprefix("0000000000000000FFFF0000")
    return v4.endswith("7F") if len(v4) == 8 else address == "0" * 24 + "01000000"


@pytest.fixture(scope="module")
def outside() -> Iterator[str]:
    """The address of a host beyond this machine that answers on a port: a network namespace with no way back to
    addresses that were not translated, as in the world.
    """
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("needs root and ip(8) to make a host outside")
    name = f"rw{os.getpid()}"
    here, there = "198.51.100.1", "198.51.100.2"  # of a network for documentation
    commands = [
        f"ip netns add {name}",
        f"ip link add {name}a type veth peer name {name}b netns {name}",
        f"ip addr add {here}/30 dev {name}a",
        f"ip link set {name}a up",
        f"ip -n {name} addr add {there}/30 dev {name}b",
        f"ip -n {name} link set {name}b up",
        f"ip -n {name} link set lo up",
    ]
    server = None
    try:
        for command in commands:
            run(command.split())
        serve = ["ip", "netns", "exec", name, "python3", "-m", "http.server", "8099", "-b", there]
        server = subprocess.Popen(serve, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: _answers(there, 8099), "the host outside")
        yield there
    finally:
        if server is not None:
            server.kill()
            server.wait()
        subprocess.run(["ip", "netns", "del", name], check=False)


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=2).close()
    except OSError:
        return False
    return True


def test_collect_alone_reaches_the_outside(stack: Project, outside: str) -> None:
    found = {name: reached(stack, name, [(outside, 8099)]) for name in SERVICES}
    assert [name for name, hit in found.items() if hit] == ["collect"]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_reaches_no_others_tables(stack: Project, stage: str) -> None:
    """With what it holds, from where it stands: the results for `store` and `present` alone."""
    script = """
import os, sys, psycopg
url = open(os.environ["ROPEWALK_SECRETS_DIR"] + "/ropewalk_database_url").read()
with psycopg.connect(url, autocommit=True) as session:
    for name in sys.argv[1:]:
        try:
            session.execute(f"SELECT 1 FROM {name} LIMIT 1")
            print(name)
        except psycopg.errors.InsufficientPrivilege:
            pass
"""
    results = "flights.departures"
    tables = [results, *(f'"{one}".task' for one in STAGES)]
    told = stack.execute(stage, "python", "-c", script, *tables).split()
    assert set(told) == {f'"{stage}".task', *([results] if stage in {"store", "present"} else [])}


def test_a_backfill_is_what_it_is_without_containers(stack: Project) -> None:
    stack.execute(
        "airflow-scheduler", "airflow", "backfill", "create", "--dag-id", "flights_daily",
        "--from-date", FIRST, "--to-date", SECOND, "--reprocess-behavior", "completed", "--max-active-runs", "2",
    )  # fmt: skip
    until(lambda: days(stack) == FLIGHTS, "both days")
    until(lambda: set(stack.runs("flights_daily").values()) == {"success"}, "the backfill's runs")
    assert days(stack) == FLIGHTS


def test_the_command_backfills_and_tells_where_the_rows_went(stack: Project) -> None:
    """`ropewalk` as its container has it: what it asks of Airflow, of the stages and of the dataset store."""
    words = ("flights_daily", "--from", min(BATCH), "--to", max(BATCH))
    assert "3 partitions" in stack.ropewalk("backfill", *words)
    assert days(stack) == {**FLIGHTS, **BATCH}
    (run_id,) = [one for one in stack.runs("flights_daily") if one.startswith("batch__")]
    ledger = stack.ropewalk("ledger", run_id)
    assert "publish by_hour" in " ".join(ledger.split())
    assert "all of these balance" in ledger
    told = stack.ropewalk("backfill", *words, "--dry-run")
    assert told.splitlines()[1].split()[-3:] == ["3", "0", "3"]  # all of them are there


def test_the_command_shows_the_rows_that_were_set_aside_and_has_them_done_again(
    stack: Project,
) -> None:
    run_id = stack.trigger("aside")
    assert stack.finish("aside", run_id) == "success"
    assert "30.00%" in stack.ropewalk("quarantine", "list", "aside")
    header, *rows = stack.ropewalk("quarantine", "show", run_id, "--csv").splitlines()
    assert header.startswith('"step"')
    assert len(rows) == 3
    assert "small" in stack.ropewalk("quarantine", "replay", run_id)
    assert published(stack, "aside", "small") == [7, 7]


def test_replicas_share_work_and_take_over_that_of_a_killed_one(stack: Project) -> None:
    stack.up("--scale", "process=3", "--no-recreate")
    run_id = stack.trigger("slow_killed")
    steps = {"one", "two", "three"}  # a replica does two at once
    until(lambda: set(stack.owners("slow_killed")) == steps, "three tasks at once")
    before = stack.owners("slow_killed")
    assert len(set(before.values())) > 1
    victim = before["one"]
    run(["docker", "kill", "--signal", "KILL", victim])
    until(lambda: stack.owners("slow_killed").get("one", victim) != victim, "another replica")
    assert stack.finish("slow_killed", run_id) == "success"
    for step in steps:
        assert published(stack, "slow_killed", step) == [1000, 1000]
    run(["docker", "start", victim])


def test_a_cut_between_a_replica_and_the_rest_loses_and_doubles_nothing(stack: Project) -> None:
    run_id = stack.trigger("slow_cut")
    until(lambda: bool(stack.owners("slow_cut")), "a replica that has the task")
    victim = stack.owners("slow_cut")["one"]
    cut = [f"{stack.name}_{name}" for name in ("ledger", "control")]
    for network in cut:
        run(["docker", "network", "disconnect", network, victim])
    until(lambda: stack.owners("slow_cut").get("one", victim) != victim, "another replica")
    for network in cut:
        run(["docker", "network", "connect", "--alias", "process", network, victim])
    assert stack.finish("slow_cut", run_id) == "success"
    assert published(stack, "slow_cut", "one") == [1000, 1000]


def test_a_restart_of_postgres_is_survived(stack: Project) -> None:
    run_id = stack.trigger("slow_restarted")
    until(lambda: bool(stack.owners("slow_restarted")), "a replica that has the task")
    stack.compose("restart", "postgres")
    assert stack.finish("slow_restarted", run_id) == "success"
    assert published(stack, "slow_restarted", "one") == [1000, 1000]


def published(stack: Project, schema: str, table: str) -> list[int]:
    """How many rows a table of a slow workflow has, and how many different ones."""
    ((rows, distinct),) = stack.query(f"SELECT count(*), count(DISTINCT n) FROM {schema}.{table}")
    return [int(rows), int(distinct)]


def test_a_backup_is_restored(stack: Project, tmp_path: Path) -> None:
    """Results, ledgers, datasets and Airflow's own: the same work asked for again is known to be done."""
    attempts = "SELECT key, attempt FROM process.task WHERE workflow = 'flights_daily' ORDER BY key"
    before = days(stack), stack.runs("flights_daily"), stack.query(attempts)
    under_way = stack.trigger("slow_saved")  # nothing has to stop for a backup
    until(lambda: bool(stack.owners("slow_saved")), "a replica that has the task")
    stack.make("backup", f"TO={tmp_path}/saved")
    assert stack.finish("slow_saved", under_way) == "success"
    stack.query("DROP SCHEMA flights CASCADE")
    stack.query("TRUNCATE process.task CASCADE")
    stack.execute("store", "sh", "-c", "rm -rf /var/lib/ropewalk/store/tasks")
    stack.make("restore", f"FROM={tmp_path}/saved")
    assert (days(stack), stack.runs("flights_daily"), stack.query(attempts)) == before
    singles = [one for one in before[1] if not one.startswith("batch__")]
    for run_id in singles:  # a batch's tasks are known by its list of what was read, which is new
        stack.clear("flights_daily", run_id)
        assert stack.finish("flights_daily", run_id) == "success"
    assert (days(stack), stack.query(attempts)) == (before[0], before[2])
    assert (
        stack.finish("slow_saved", under_way) == "success"
    )  # once more: it was not, when it was saved
    assert published(stack, "slow_saved", "one") == [1000, 1000]


ASK = """
import http.client, sys
connection = http.client.HTTPConnection("store", 8080, timeout=20)
connection.request("GET", sys.argv[1], headers={"authorization": "Bearer " + sys.argv[2]})
print(connection.getresponse().status)
"""


def test_a_program_is_given_a_token_and_it_opens_what_it_is_for(stack: Project) -> None:
    made = ("run", "--rm", "--no-deps", "--user", f"{os.getuid()}:{os.getgid()}", "secrets")
    command = ("python", "-m", "ropewalk.cli", "token", "store", "--right", "metrics")
    token = stack.compose(*made, *command).strip()
    for path, status in (("/metrics", "200"), ("/v1/describe", "403")):
        ask = ("python", "-c", ASK, path, token)
        assert stack.execute("airflow-scheduler", *ask).strip() == status


@pytest.fixture
def encrypted(stack: Project) -> Iterator[Project]:
    """The stack with its stages over mutual TLS; afterwards as it was."""
    plain = stack.files
    stack.files = (*plain, "docker-compose.tls.yaml")
    try:
        stack.make("secrets")
        stack.up()
        yield stack
    finally:
        stack.files = plain
        stack.make("secrets")


KNOCK = r"""
import socket, ssl, sys
host, port = sys.argv[1], int(sys.argv[2])
context = ssl.create_default_context(cafile="/run/secrets/ca.pem")
context.set_alpn_protocols(["h2"])
if "certified" in sys.argv:
    context.load_cert_chain("/run/secrets/tls.pem", "/run/secrets/tls.key")
try:
    with socket.create_connection((host, port), timeout=10) as plain:
        with context.wrap_socket(plain, server_hostname=host) as session:
            session.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            print("in" if session.recv(1) else "closed")
except OSError:
    print("out")
"""


def test_over_mutual_tls_a_day_runs_and_who_has_no_certificate_is_refused(
    encrypted: Project,
) -> None:
    run_id = encrypted.trigger("flights_daily", THIRD)
    assert encrypted.finish("flights_daily", run_id) == "success"
    assert days(encrypted)[THIRD] == THIRDS
    assert "all of these balance" in encrypted.ropewalk("ledger", run_id)
    for port in (HTTP, FLIGHT):
        words = ("python", "-c", KNOCK, "store", str(port))
        assert encrypted.execute("process", *words, "certified").strip() == "in"
        assert encrypted.execute("process", *words).strip() in {"out", "closed"}


def test_no_secret_is_in_what_all_the_runs_have_left(stack: Project) -> None:
    """Neither in the databases, nor in a file of Airflow's or of the datasets, nor in a log, nor in a command line."""
    files = "find . -type f -print -exec cat {} +"
    folders = {
        "airflow/logs": "airflow-scheduler",
        "airflow/lineage": "airflow-scheduler",
        "store": "store",
    }
    places = {
        **{
            f"database {name}": stack.execute("postgres", "pg_dump", "-U", "postgres", name)
            for name in ("airflow", "ropewalk")
        },
        **{
            folder: stack.execute(service, "sh", "-c", f"cd /var/lib/ropewalk/{folder} && {files}")
            for folder, service in folders.items()
        },
        "output": stack.compose("logs", "--no-color"),
    }
    for place, text in places.items():
        assert "flights_daily" in text, place  # it is what the runs have left
    ids = stack.compose("ps", "-q").split()
    places["commands"] = "".join(run(["docker", "top", one, "-eo", "pid,args"]) for one in ids)
    assert "airflow triggerer" in places["commands"]
    assert told_in(places, secrets_of(stack)) == []


def test_a_warm_start_changes_nothing_and_all_goes_when_told(stack: Project) -> None:
    before = days(stack)
    stack.compose("--profile", "*", "down", "--timeout", "10")
    stack.up()
    assert days(stack) == before
    measure(stack)
    stack.compose("--profile", "*", "down", "--volumes", "--timeout", "3")
    assert stack.left() == []


def measure(stack: Project) -> None:
    """Seconds of the ways up, and the memory of every container that has nothing to do."""
    told: list[dict[str, Any]] = [
        json.loads(line)
        for line in run(["docker", "stats", "--no-stream", "--format", "json"]).splitlines()
    ]
    FIGURES.extend(f"  {what:<28}{seconds:6.0f} s" for what, seconds in stack.seconds.items())
    FIGURES.extend(
        f"  {one['Name'].removeprefix(stack.name + '-'):<28}{one['MemUsage'].split(' ')[0]:>10}"
        for one in sorted(told, key=lambda one: str(one["Name"]))
        if one["Name"].startswith(stack.name)
    )
