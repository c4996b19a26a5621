"""Attacks that take a run of their own: what outlives it, lies to it, or wants to be run or read as root."""

from __future__ import annotations

import ast
import base64
import hashlib
import json
import re
import secrets
import shutil
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flyteidl2.task.task_service_pb2 import DeployTaskRequest

from flyte_deploy.embedded import LoginSide, Tls, running
from flyte_deploy.pipeline import plan
from flyte_deploy.settings import resolve
from tests.attacks.scene import CERTIFICATE, SDK, WORD, Scene, scene
from tests.engine import Engine
from tests.harness.tree import tree_digest
from tests.registries.servers import Authority

INNOCENT = """
import flyte
env = flyte.TaskEnvironment(name="innocent", image="registry.example/team/image:1")

@env.task
def work(x: int) -> int:
    return x
"""

# The pipe that the collector answers on: user code runs in its process and can write there.
FIND_PIPE = """
import os, fcntl
def pipe():
    for name in sorted(os.listdir("/proc/self/fd"), key=int):
        if int(name) > 2:
            try:
                if os.readlink(f"/proc/self/fd/{name}").startswith("pipe:"):
                    if fcntl.fcntl(int(name), fcntl.F_GETFL) & 3 == os.O_WRONLY:
                        return int(name)
            except OSError:
                pass
"""


@pytest.fixture(scope="module")
def made() -> Iterator[Scene]:
    with scene() as one:
        yield one


def attack(made: Scene, code: str, endpoint: str = "", **files: str) -> dict[str, Any]:
    """What comes of a project whose one module begins with some code."""
    made.check_out(files={"flow.py": textwrap.dedent(code) + INNOCENT, **files})
    return made.run(endpoint)


def processes_like(word: str) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if word in line:
                found.append(line)
    return found


def test_a_daemon_does_not_outlive_the_run(made: Scene) -> None:
    code = """
    import os, time
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.execve("/usr/bin/sleep", ["sleep", "86398.5"], {})
        os._exit(0)
    for _ in range(200):
        time.sleep(0.01)
    import pathlib
    lines = [path.read_bytes() for path in pathlib.Path("/proc").glob("[0-9]*/cmdline")]
    print("seen", sum(b"86398.5" in line for line in lines))
    """
    outcome = attack(made, code)
    assert ["output", "seen 1"] in outcome["heard"]
    assert outcome["tasks"] == ["innocent.work"]
    assert processes_like("86398.5") == []


def test_a_fork_storm_ends_with_the_run(made: Scene) -> None:
    code = """
    import os, sys, time
    if os.fork() == 0:
        os.setsid()
        while True:
            try:
                if os.fork() == 0:
                    os.execve("/usr/bin/sleep", ["sleep", "86397.5"], {})
            except OSError:
                print("refused", flush=True)
                time.sleep(0.05)
    time.sleep(1)
    """
    outcome = attack(made, code)
    assert outcome["tasks"] == ["innocent.work"]
    assert processes_like("86397.5") == []


def test_a_network_that_is_allowed_is_one_of_ip_alone(made: Scene) -> None:
    code = """
    import json, os, socket
    places = json.loads(os.environ["ATTACK_PLACES"])
    for family, address in (
        (socket.AF_INET, ("127.0.0.1", places["loopback"])),
        (socket.AF_UNIX, places["socket"]),
        (socket.AF_UNIX, "\\0" + places["abstract"]),
    ):
        try:
            with socket.socket(family) as client:
                client.connect(address)
            print("connected")
        except OSError as error:
            print(error)
    """
    made.check_out(files={"flow.py": textwrap.dedent(code) + INNOCENT})
    outcome = made.run(network="allow")
    printed = [text for kind, text in outcome["heard"] if kind == "output"]
    refused = "[Errno 97] Address family not supported by protocol"
    assert printed == ["connected", refused, refused]


def test_the_content_is_what_it_is_outside(made: Scene, tmp_path: Path) -> None:
    made.check_out(files={"flow.py": INNOCENT, "helper.py": "x = 1\n"})
    confined = made.run()
    python = next(made.base.glob("environments/*/venv/bin/python"))
    outside = plan(
        resolve(
            {"arguments": ["."], "recursive": True, "python": str(python), "endpoint": ""},
            {"HOME": str(tmp_path)},
            made.workspace,
            command="plan",
        ),
        lambda progress: None,
    )
    assert confined["content"] == outside.content


MARK = """
import os, contextlib
with contextlib.suppress(OSError):
    open({folder!r} + "/ran-" + {name!r}, "w").close()
"""


def test_no_module_of_the_checkout_is_imported_by_the_deployer(made: Scene) -> None:
    folder = str(made.folder / "bin")
    names = ("sitecustomize.py", "usercustomize.py", "json.py", "msgspec.py", "ctypes.py", "inside.py")
    files = {name: MARK.format(folder=folder, name=name) for name in names}
    files["flyte_deploy/__init__.py"] = MARK.format(folder=folder, name="flyte_deploy")
    outcome = attack(made, "", **files)
    # The folder is the current one of the deployer, too.
    assert "heard" in outcome
    assert sorted(path.name for path in made.folder.glob("bin/ran-*")) == []
    control = made.folder / "github" / "workspace"
    control.parent.chmod(0o755)
    subprocess.run(["/usr/bin/python3", "-c", "import json"], cwd=control, check=False)
    ran = made.folder / "bin" / "ran-json.py"
    assert ran.exists()
    ran.unlink()


def test_no_command_line_holds_a_secret(made: Scene, tmp_path: Path) -> None:
    """Everybody sees them: those of the deployer's children as well as its own."""
    key = base64.b64encode(f"127.0.0.1:client:{WORD}:org".encode()).decode()
    made.check_out(files={"flow.py": INNOCENT})
    with running(tmp_path / "server") as server:
        outcome = made.run(server.endpoint, api_key=key)
    assert outcome.get("tasks") == ["innocent.work"], outcome
    lines = [" ".join(command) for command in outcome["commands"]]
    # Git, the installation's steps, the collector, the verification, and what ends them.
    assert len(lines) > 6
    assert any("git status" in line for line in lines)
    assert any("collector" in line for line in lines)
    assert [line for line in lines if WORD in line or key in line] == []


def test_certificates_alone_reach_the_code(made: Scene) -> None:
    code = "import os; print(open(os.environ['CURL_CA_BUNDLE']).read().encode())"
    outcome = attack(made, code, **{"ca.pem": f"# {WORD}\n{CERTIFICATE}{WORD}\n"})
    assert ["output", str(CERTIFICATE.encode())] in outcome["heard"]


def test_a_mount_that_cannot_be_closed_stops_the_run(made: Scene) -> None:
    """Below a folder of programs, where modes would keep the code from these as well."""
    (made.folder / "bin" / "mounted").mkdir(exist_ok=True)
    made.check_out(files={"flow.py": INNOCENT})
    made.also_mounted = ("bin/mounted",)
    try:
        refused = made.run(landlock=False)
        taken = made.run()
    finally:
        made.also_mounted = ()
    assert taken.get("tasks") == ["innocent.work"], taken
    assert f"cannot be closed to the project's code: {made.folder}/bin/mounted" in refused["error"]
    assert "/run/secrets/NAME" in refused["error"]
    assert ["step", "Installing the project"] in taken["heard"]
    assert ["step", "Installing the project"] not in refused["heard"]


def test_git_of_the_checkout_is_not_obeyed(made: Scene) -> None:
    mark = made.folder / "bin" / "ran-git"
    configuration = (
        f"[core]\n\trepositoryformatversion = 0\n\tfsmonitor = touch {mark}; false\n\tbare = false\n"
    )
    configuration += f'\tworktree = .\n\thooksPath = .\n[filter "x"]\n\tclean = touch {mark}\n'
    bare = {
        "lib/HEAD": "ref: refs/heads/main\n",
        "lib/config": configuration,
        "lib/objects/keep": "",
        "lib/refs/heads/keep": "",
        ".gitattributes": "* filter=x\n",
    }
    planted = f"""
    import os, pathlib
    here = pathlib.Path(__file__).parent
    for git in (here / ".git", here / "deep" / ".git"):
        for name in ("objects", "refs/heads", "hooks"):
            (git / name).mkdir(parents=True)
        (git / "HEAD").write_text("ref: refs/heads/main\\n")
        (git / "config").write_text({configuration!r}.replace("\\tworktree = .\\n", ""))
        (git.parent / "planted.txt").write_text("x")
    """
    made.check_out(files={"flow.py": textwrap.dedent(planted) + INNOCENT, **bare})
    outcome = made.run(copy_style="all")
    assert outcome.get("tasks") == ["innocent.work"], outcome
    assert "planted.txt" in outcome["files"]
    assert not mark.exists()
    # Git obeys it where nobody keeps it from that.
    workspace = made.workspace
    workspace.parent.chmod(0o755)
    subprocess.run(
        ["git", "-c", "safe.directory=*", "status"], cwd=workspace / "lib", check=False, capture_output=True
    )
    assert mark.exists()
    mark.unlink()


def test_git_never_runs_as_root(made: Scene) -> None:
    users = made.open / "git-users"
    git = made.folder / "bin" / "git"
    git.write_text(f'#!/bin/sh\nid -u >>{users} || :\nexec /usr/bin/git "$@"\n')
    git.chmod(0o755)
    try:
        made.check_out(files={"flow.py": INNOCENT})
        outcome = made.run(copy_style="all")
    finally:
        git.unlink()
    assert outcome.get("tasks") == ["innocent.work"], outcome
    found = set(users.read_text().split())
    assert found
    assert "0" not in found


def test_a_variable_that_the_code_is_not_given_is_named(made: Scene) -> None:
    outcome = attack(made, "import os\nprint(os.environ.get('DEPLOYER_TOKEN', 'nothing'))\n")
    assert ["output", "nothing"] in outcome["heard"]
    (warning,) = [text for kind, text in outcome["heard"] if kind == "warning"]
    assert "flow.py" in warning
    assert "DEPLOYER_TOKEN" in warning
    assert "--pass-env" in warning
    assert WORD not in warning


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ('os.write(pipe(), b\'{"answer": {"protocol"\'); os._exit(0)', "ended the interpreter"),
        ("os.write(pipe(), b'no JSON at all\\n')", "not what it should be"),
        ("os.write(pipe(), b'{\"event\": 5}\\n')", "not what it should be"),
        ("os.write(pipe(), b'{\"answer\":' + b'[' * 200000 + b'\\n')", "not what it should be"),
        (
            "os.write(pipe(), b'{\"unknown\":' + b'[' * 60000 + b']' * 60000 + b'}\\n')",
            "not what it should be",
        ),
        ("[os.write(pipe(), b'[' * (1 << 20)) for _ in range(300)]", "larger than is taken"),
        (
            '[os.write(pipe(), b\'{"event": "x"}\\n\' * 4000) for _ in range(51)]',
            "larger than is taken",
        ),
        (
            "os.write(pipe(), json.dumps({'event': 'loaded', 'file': 'x' * 50000}).encode() + b'\\n')",
            "a file that it was not to load",
        ),
        (
            "document = {'answer': {'protocol': 9, 'python': '3', 'sdk': '2.12.1'}};"  # noqa: ISC004
            " os.write(pipe(), json.dumps(document).encode() + b'\\n'); os._exit(0)",
            "speaks protocol 9",
        ),
    ],
    ids=[
        "truncated",
        "no JSON",
        "wrong type",
        "nested",
        "nested unknown",
        "oversized",
        "many events",
        "event of a long file",
        "protocol",
    ],
)
def test_forged_messages_are_refused(made: Scene, code: str, said: str) -> None:
    outcome = attack(made, f"{FIND_PIPE}\nimport json\n{code}\n")
    assert said in outcome.get("error", ""), outcome


FLOODS = {
    # A line that is as long as is taken, in a field that is told.
    "variable": "line(event='missed', missed={'DEPLOYER_TOKEN': 'x' * (100 << 20)})",
    "variables": "line(event='missed', missed={f'V{n}': 'x' * 100 for n in range(500000)})",
    "failures": "line(answer={**answer, 'failures': [{'file': 'f', 'type': 't', 'text': 'x'}] * 100000})",
    "failure": "line(answer={**answer, 'failures': [{**failure, 'text': 'x' * (100 << 20)}]})",
    "frames": "line(answer={**answer, 'failures': [{**failure, 'frames': [frame] * 100000}]})",
    "crash": "line(failure={'code': 'x' * (50 << 20), 'text': 'x' * (50 << 20)})",
    "version": "line(environment=environment); line(answer={**answer, 'sdk': 'x' * (50 << 20)})",
    "task": "task['name'] *= 10000; line(environment={**environment, 'tasks': [task]}); line(answer=answer)",
    "environment": "line(environment={**environment, 'name': 'x' * (1 << 20)}); line(answer=answer)",
    "location": "line(environment={**environment, 'name': 'a\\nb', 'location': place}); line(answer=answer)",
}


@pytest.mark.parametrize("flood", FLOODS)
def test_what_the_code_says_does_not_flood_the_log(made: Scene, flood: str) -> None:
    code = f"""{FIND_PIPE}
import json, pathlib
answer = {{"protocol": 1, "python": "3.11.2", "sdk": "2.12.1", "with_bundle": True}}
answer["modules"] = [str(pathlib.Path(__file__))]
environment = {{"key": 0, "name": "e", "selected": True, "tasks": []}}
task = {{"name": "e.t", "short_name": "t", "environment": "e"}}
frame = {{"file": "x" * 1000, "line": 1, "function": "x" * 1000, "text": "x" * 1000}}
failure = {{"file": "f", "type": "t", "text": "x"}}
place = {{"file": "x" * (1 << 20), "line": 1}}
to = os.fdopen(pipe(), "wb")
def line(**document):
    to.write(json.dumps(document).encode() + b"\\n")
{FLOODS[flood]}
to.flush()
os._exit(0)
"""
    made.check_out(files={"flow.py": code})
    outcome = made.run()
    assert "error" in outcome
    assert len(json.dumps(outcome)) < 100_000


@pytest.mark.parametrize("path", ["/etc/shadow", "{root}/../../github/home/notes", "{root}/link.txt"])
def test_no_file_outside_the_copy_gets_into_a_bundle(made: Scene, path: str) -> None:
    code = f"""{FIND_PIPE}
import json, pathlib
root = str(pathlib.Path(__file__).parent)
answer = {{"protocol": 1, "python": "3.11.2", "sdk": "2.12.1", "with_bundle": True}}
answer["modules"] = [{path!r}.format(root=root)]
environment = {{"key": 0, "name": "e", "selected": True, "tasks": []}}
os.write(pipe(), json.dumps({{"environment": environment}}).encode() + b"\\n")
os.write(pipe(), json.dumps({{"answer": answer}}).encode() + b"\\n")
os._exit(0)
"""
    outcome = attack(made, code, **{"link.txt": f"-> {made.folder}/github/home/notes"})
    assert WORD not in str(outcome)
    assert "no file to bundle" in outcome["error"] or "leads out of the root" in outcome["error"]


@pytest.mark.parametrize("pattern", ["notes", "*", "../home/notes", "/github/home/notes"])
def test_no_include_brings_a_file_from_outside_the_copy(made: Scene, pattern: str) -> None:
    home = f"{made.folder}/github/home"
    include = pattern.replace("/github", f"{made.folder}/github")
    code = f"""{FIND_PIPE}
import json
answer = {{"protocol": 1, "python": "3.11.2", "sdk": "2.12.1", "with_bundle": True}}
environment = {{"key": 0, "name": "e", "selected": True, "tasks": [], "include": [{include!r}]}}
environment["declared_in"] = {home!r} + "/flow.py"
os.write(pipe(), json.dumps({{"environment": environment}}).encode() + b"\\n")
os.write(pipe(), json.dumps({{"answer": answer}}).encode() + b"\\n")
os._exit(0)
"""
    outcome = attack(made, code)
    assert WORD not in str(outcome)
    assert "outside the root" in outcome.get("error", ""), outcome


@pytest.mark.parametrize("style", ["all", "loaded_modules"])
def test_a_link_that_leads_out_takes_nothing_along(made: Scene, style: str) -> None:
    secret = f"{made.folder}/github/home/notes"
    flow = INNOCENT.replace('name="innocent"', 'name="innocent", include=("link.txt",)')
    made.check_out(
        files={"flow.py": flow, "link.txt": f"-> {secret}", "folder": f"-> {made.folder}/github/home"}
    )
    outcome = made.run(copy_style=style)
    assert "link.txt: the link leads out of the root" in outcome["error"]
    assert WORD not in str(outcome)


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        ('.with_source_folder(Path("{home}"))', "lies outside of the checkout"),
        ('.with_source_file(Path(__file__).parent / "link.txt")', "lies outside of the checkout"),
        ('.with_source_folder(Path(__file__).parent / "folder")', "lies outside of the checkout"),
        ('.with_env_vars({{"A": "x\\nCOPY {home} /"}})', "line break"),
    ],
)
def test_no_image_takes_along_what_is_not_in_the_copy(made: Scene, layer: str, said: str) -> None:
    home = f"{made.folder}/github/home"
    image = 'image=flyte.Image.from_debian_base(registry="r.example/t", name="n")' + layer.format(home=home)
    flow = "from pathlib import Path\n" + INNOCENT.replace('image="registry.example/team/image:1"', image)
    files = {"flow.py": flow, "link.txt": f"-> {home}/notes", "folder": f"-> {home}"}
    made.check_out(files=files)
    outcome = made.run()
    assert WORD not in str(outcome)
    assert re.search(said, outcome.get("error", "")), outcome


@pytest.mark.parametrize(
    ("option", "value"), [("build_secret", "NPMRC=./npmrc"), ("build_context", "x=./npmrc")]
)
def test_a_build_gets_no_link_in_place_of_a_file(
    made: Scene, tmp_path: Path, engine: Engine, option: str, value: str
) -> None:
    """The code replaces a file of the checkout that the workflow gives to builds."""
    swap = f"""
    import os, pathlib
    file = pathlib.Path(__file__).parent / "npmrc"
    file.unlink()
    file.symlink_to("{made.folder}/github/home/notes")
    """
    image = 'image=flyte.Image.from_debian_base(name="n").with_commands(["true"])'
    flow = textwrap.dedent(swap) + INNOCENT.replace('image="registry.example/team/image:1"', image)
    made.check_out(files={"flow.py": flow, "npmrc": "harmless"})
    with running(tmp_path / "server") as server:
        options: dict[str, Any] = {option: [value], "registry": f"{engine.registry}/none"}
        outcome = made.run(server.endpoint, **options)
    assert "npmrc is a link that leads out of the checkout" in outcome["error"], outcome
    assert WORD not in str(outcome)


PLANTING = """
import os, pathlib

HERE = pathlib.Path(__file__).parent

def plant(git):
    (git / "objects").mkdir(parents=True)
    (git / "refs" / "heads").mkdir(parents=True)
    (git / "HEAD").write_text("ref: refs/heads/main\\n")
    (git / "refs" / "heads" / "main").write_text("a" * 40 + "\\n")
    # HEAD's commit is missing: who shows it has it fetched from the remote, which is a program.
    (git / "config").write_text(
        "[core]\\nrepositoryformatversion = 1\\nbare = false\\n[extensions]\\npartialClone = origin\\n"
        '[remote "origin"]\\npromisor = true\\n' + f"url = ext::{{HERE}}/program\\n"
        '[protocol "ext"]\\nallow = always\\n'
    )

(HERE / "program").write_text("#!/bin/sh\\nid -u > {proof}\\n")
(HERE / "program").chmod(0o755)
plant(HERE / ".git")

import flyte
image = flyte.Image.from_dockerfile(HERE / "Dockerfile", registry="{registry}", name="own")
env = flyte.TaskEnvironment(name="innocent", image=image)

@env.task
async def work() -> None: ...
"""


def test_a_planted_repository_runs_no_program_beside_a_build(
    made: Scene, engine: Engine, tmp_path: Path
) -> None:
    """buildx asks git about a context; the code could have made it a repository while it was loaded."""
    proof = made.open / "proof"
    registry = f"{engine.registry}/{secrets.token_hex(6)}"
    flow = PLANTING.format(proof=proof, registry=registry)
    made.check_out(files={"flow.py": flow, "Dockerfile": "FROM python:3.13-slim-bookworm\nRUN true\n"})
    with running(tmp_path / "server") as server:
        outcome = made.run(server.endpoint, variables=engine.variables)
    assert outcome.get("tasks") == ["innocent.work"], outcome
    assert not proof.exists()
    # The repository is there, and whoever asks git there as root has the program run.
    copy = made.base / "checkout"
    subprocess.run(["git", "-C", str(copy), "show", "HEAD"], check=False, capture_output=True)
    assert proof.read_text() == "0\n"


SWAPPING = """
import glob, os, pathlib
import flyte
from flyte.io import File

SECRET = {secret!r}
HERE = pathlib.Path(__file__).parent
COPY = {copy!r}

def swap(path):
    # A file of the code's own, for one of the deployer's.
    try:
        os.remove(path)
        os.symlink(SECRET, path)
        return "swapped " + path
    except OSError as error:
        return str(error)

def mine(path):
    try:
        return os.stat(path).st_uid == os.getuid()
    except FileNotFoundError:
        # Folders of other runs come and go.
        return False

def captured(folder):
    try:
        return [str(path) for name in os.listdir(folder) for path in pathlib.Path(folder, name).iterdir()]
    except OSError as error:
        return [folder]

own = pathlib.Path(os.environ["TMPDIR"])
if str(HERE) == COPY:
    (folder,) = filter(mine, glob.glob(str(own.parent / "scratch" / "*")))
    (own / "captures").write_text(folder)
else:
    # The code is loaded once more, from the bundle, after all has been identified.
    paths = [*captured((own / "captures").read_text()), COPY + "/data.csv", COPY + "/flow.py"]
    (own / "report").write_text(chr(10).join(map(swap, paths)))

env = flyte.TaskEnvironment(
    name="innocent", image="registry.example/team/image:1", include=("data.csv",)
)

@env.task
async def work(f: File = File.from_local_sync(str(HERE / "data.csv"))) -> None: ...
"""


def test_nothing_is_put_in_the_place_of_what_was_identified(made: Scene, tmp_path: Path) -> None:
    secret = f"{made.folder}/github/home/notes"
    flow = SWAPPING.format(secret=secret, copy=str(made.base / "checkout"))
    data = tmp_path / "server"
    with running(data) as server:
        made.check_out(files={"flow.py": flow, "data.csv": "a,b\n"})
        # Here, other than in the container, Landlock would close /tmp beside the scene, too.
        outcome = made.run(server.endpoint, landlock=False)
    assert outcome.get("tasks") == ["innocent.work"], outcome
    told = (made.base / "tmp" / "report").read_text().splitlines()
    # What was captured, and the copy.
    assert len(told) == 3
    assert all(re.match(r"\[Errno (1|13|21)\] ", line) for line in told), told
    assert not [path for path in data.rglob("*") if path.is_file() and WORD.encode() in path.read_bytes()]


MOVING = """
import glob, os, pathlib
import flyte
from flyte.io import File

SECRET = {secret!r}
HERE = pathlib.Path(__file__).parent
COPY = {copy!r}
OPEN = pathlib.Path({open!r})
own = pathlib.Path(os.environ["TMPDIR"])

def mine(path):
    try:
        return os.lstat(path).st_uid == os.getuid()
    except FileNotFoundError:
        return False

def move(folder, to):
    # It goes on to be the code's, and a link of the code's stands in its place.
    try:
        os.rename(folder, to)
        os.symlink(to, folder)
        return "moved"
    except OSError as error:
        return str(error)

def given():
    # What is the code's, but not what the code has made in it.
    places = ["/tmp", "/var/tmp", "/dev/shm", str(own.parent), *glob.glob(str(own.parent) + "/*")]
    for place in places:
        for path in glob.glob(place + "/*") if not mine(place) else ():
            if mine(path) and not path.startswith(str(OPEN)):
                yield path, os.stat(place).st_uid, os.stat(place).st_mode & 0o022

scratch = [path for path in glob.glob(str(own.parent / "scratch" / "*")) if mine(path)]
scratch += [path for path in glob.glob("/tmp/flyte-deploy-*") if mine(path)]
told = []
if str(HERE) == COPY:
    (OPEN / "control").mkdir()
    told.append(move(OPEN / "control", OPEN / "elsewhere"))
told += [move(path, str(own / os.path.basename(path))) for path in scratch]
told += [repr(one) for one in given()]
with (own / ("loaded" if str(HERE) == COPY else "verified")).open("w") as report:
    report.write(chr(10).join(told))
# The deployer may go where these lead.
for path in scratch:
    for name in ("workspace", "home"):
        os.symlink(os.path.dirname(SECRET).replace("home", name), path + "/" + name)

env = flyte.TaskEnvironment(
    name="innocent", image="registry.example/team/image:1", include=("data.csv",)
)

@env.task
async def work(f: File = File.from_local_sync(str(HERE / "data.csv"))) -> None: ...
"""


@pytest.mark.parametrize("landlock", [True, False], ids=["Landlock", "no Landlock"])
def test_no_folder_that_the_code_is_given_can_be_moved_away(
    made: Scene, tmp_path: Path, landlock: bool
) -> None:
    """What is moved away would stay the code's, and links in its place lead where the code cannot go."""
    secret = f"{made.folder}/github/home/notes"
    copy = str(made.base / "checkout")
    data = tmp_path / "server"
    shutil.rmtree(made.open)
    with running(data) as server:
        made.check_out(
            files={
                "flow.py": MOVING.format(secret=secret, copy=copy, open=str(made.open)),
                "data.csv": "a,b\n",
            }
        )
        before = tree_digest(made.folder / "github")
        outcome = made.run(server.endpoint, landlock=landlock)
        after = tree_digest(made.folder / "github")
    assert outcome.get("tasks") == ["innocent.work"], outcome
    assert before == after
    for phase in ("loaded", "verified"):
        moved, *found = (made.base / "tmp" / phase).read_text().splitlines()
        if phase == "loaded":
            # The control: a folder that is the code's in one that everybody can write to.
            assert moved == "moved"
            moved, *found = found
        assert re.match(r"\[Errno 13\] ", moved), moved
        parents = [ast.literal_eval(one) for one in found]
        assert {Path(path).parent.name for path, _, _ in parents} == {"base", "scratch"}
        assert {(uid, mode) for _, uid, mode in parents} == {(0, 0)}
    assert list((made.base / "scratch").iterdir()) == []
    assert not [path for path in data.rglob("*") if path.is_file() and WORD.encode() in path.read_bytes()]


@pytest.mark.parametrize("landlock", [True, False], ids=["Landlock", "no Landlock"])
def test_folders_of_the_code_are_not_where_the_workflow_has_temporary_files(
    made: Scene, tmp_path: Path, landlock: bool
) -> None:
    """A workflow may set TMPDIR to a mounted folder, which is closed to the code."""
    flow = """
    from pathlib import Path
    from flyte.io import File
    import flyte
    env = flyte.TaskEnvironment(
        name="innocent", image="registry.example/team/image:1", include=("data.csv",)
    )

    @env.task
    async def work(f: File = File.from_local_sync(str(Path(__file__).parent / "data.csv"))) -> None: ...
    """
    made.check_out(files={"flow.py": textwrap.dedent(flow), "data.csv": "a,b\n"})
    temporary = made.folder / "github" / "runner_temp"
    data = tmp_path / "server"
    with running(data) as server:
        outcome = made.run(server.endpoint, landlock=landlock, variables={"TMPDIR": str(temporary)})
    assert outcome.get("tasks") == ["innocent.work"], outcome
    assert [path.read_text() for path in data.rglob("data.csv")] == ["a,b\n"]


FORGED_CAPTURES = {
    "no digest": ("..", "", ["notes"], "", "what has no digest"),
    "absolute": ("{home}", "", ["notes"], "", "what has no digest"),
    "file outside": ("{digest}", "", ["../../../github/home/notes"], "", "outside of its folder"),
    "link": ("{digest}", "notes", ["notes"], "os.symlink(home + '/notes', place + '/notes')", "a link"),
    "link to a folder": (
        "{digest}",
        "notes",
        ["notes"],
        "os.rmdir(place); os.symlink(home, place)",
        "a link",
    ),
    "pipe": ("{digest}", "notes", ["notes"], "os.mkfifo(place + '/notes')", "no longer a file"),
    "other content": (
        "{digest}",
        "notes",
        ["notes"],
        "open(place + '/notes', 'w').write('x')",
        "not what it",
    ),
    "nothing": ("{digest}", "notes", ["notes"], "", "cannot be read"),
}


@pytest.mark.parametrize("case", FORGED_CAPTURES)
def test_forged_captures_are_refused(made: Scene, case: str) -> None:
    digest, name, files, make, said = FORGED_CAPTURES[case]
    hashed = hashlib.sha256(WORD.encode()).hexdigest()
    code = f"""{FIND_PIPE}
import glob, json, pathlib
home = {str(made.folder / "github" / "home")!r}
(captures,) = [
    path for path in glob.glob(os.environ["TMPDIR"] + "/../scratch/*") if os.stat(path).st_uid == os.getuid()
]
place = captures + "/{hashed}"
os.mkdir(place)
{make}
capture = {{"digest": {digest!r}.format(home=home, digest={hashed!r}), "name": {name!r}}}
answer = {{"protocol": 1, "python": "3.11.2", "sdk": "2.12.1", "with_bundle": True}}
answer["modules"] = [str(pathlib.Path(__file__))]
answer["captured"] = [{{**capture, "folder": {not name}, "files": {files!r}}}]
environment = {{"key": 0, "name": "e", "selected": True, "tasks": []}}
os.write(pipe(), json.dumps({{"environment": environment}}).encode() + b"\\n")
os.write(pipe(), json.dumps({{"answer": answer}}).encode() + b"\\n")
os._exit(0)
"""
    # Without Landlock a link is all that it takes.
    made.check_out(files={"flow.py": code})
    outcome = made.run(landlock=False)
    assert said in outcome.get("error", ""), outcome
    assert WORD not in str(outcome)


TOKEN_SCRIPT = """#!/usr/bin/python3
import base64, json, os, time
with open({mark!r}, "a") as mark:
    mark.write(os.getcwd() + {who!r} + chr(10))
part = base64.urlsafe_b64encode(json.dumps({{"exp": time.time() + 1}}).encode()).decode().rstrip("=")
print("e30." + part + ".x")
"""


@pytest.mark.parametrize("kind", ["auth", "proxy"])
def test_a_relative_command_for_tokens_is_not_that_of_the_code(
    made: Scene, tmp_path: Path, kind: str
) -> None:
    """It is asked again and again, while and after the code writes what it likes to its copy."""
    mark = made.folder / "bin" / f"asked-{kind}"
    stolen = TOKEN_SCRIPT.format(mark=str(mark), who=" stolen")
    swap = f"""
    import pathlib, time
    file = pathlib.Path(__file__).parent / "scripts" / "token.sh"
    # It is not in the bundle.
    if file.exists():
        file.write_text({stolen!r})
    time.sleep(1)
    """
    script = TOKEN_SCRIPT.format(mark=str(mark), who="")
    made.check_out(files={"flow.py": textwrap.dedent(swap) + INNOCENT, "scripts/token.sh": script})
    (made.workspace / "scripts" / "token.sh").chmod(0o755)
    authority = Authority.make(tmp_path / "authority")

    def accepts(token: str) -> bool:
        return token.startswith("e30.")

    side = LoginSide(accepts, proxy=accepts if kind == "proxy" else None)
    if kind == "auth":
        ways: dict[str, Any] = {"auth_type": "ExternalCommand", "auth_command": "scripts/token.sh"}
    else:
        ways = {
            "proxy_command": "scripts/token.sh",
            "auth_type": "ExternalCommand",
            "auth_command": "echo e30.",
        }
    with running(tmp_path / "server", login=side, tls=Tls(authority.certificate, authority.key)) as server:
        port = server.endpoint.rpartition(":")[2]
        outcome = made.run(f"dns:///localhost:{port}", insecure=False, ca_cert=str(authority.ca), **ways)
    assert outcome.get("tasks") == ["innocent.work"], outcome
    asked = mark.read_text().splitlines()
    assert len(asked) > 1
    assert set(asked) == {str(made.workspace)}


def test_the_mark_of_a_finished_environment_is_no_link(made: Scene, tmp_path: Path) -> None:
    """What a build leaves in the environment is not written through."""
    victim = made.folder / "github" / "workspace" / "made-by-root"
    backend = BACKEND.format(victim=str(victim))
    files = {"flow.py": INNOCENT, "pyproject.toml": PYPROJECT, "backend.py": backend}
    made.check_out(files=files)
    (made.workspace / "requirements.txt").unlink()
    outcome = made.run(cache_dir=str(tmp_path / "cache"))
    assert outcome.get("tasks") == ["innocent.work"], outcome
    (planted,) = made.base.glob("environments/*/planted")
    assert planted.read_text() == "yes"
    assert not victim.exists()


PYPROJECT = f"""
[project]
name = "flows"
version = "1.0"
dependencies = ["flyte=={SDK}"]
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""
BACKEND = """
import os, pathlib, sys, zipfile

def build_editable(folder, config=None, metadata=None):
    for environment in pathlib.Path({{base!r}}).glob("environments/*/"):
        try:
            os.symlink({victim!r}, environment / "complete")
            (environment / "planted").write_text("yes")
        except OSError:
            pass
    info = "flows-1.0.dist-info"
    files = {{
        info + "/METADATA": "Metadata-Version: 2.1\\nName: flows\\nVersion: 1.0\\nRequires-Dist: flyte\\n",
        info + "/WHEEL": "Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    }}
    files[info + "/RECORD"] = "".join(name + ",,\\n" for name in [*files, info + "/RECORD"])
    with zipfile.ZipFile(pathlib.Path(folder, "flows-1.0-py3-none-any.whl"), "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return "flows-1.0-py3-none-any.whl"
""".replace("{{base!r}}", "os.environ['HOME'] + '/..'")

LYING = """
import sys
serialize = sys.modules.get("_flyte_deploy_collector.serialize")
original = getattr(getattr(serialize, "Serializer", None), "request", None)
async def request(self, task):
    from flyteidl2.task.task_service_pb2 import DeployTaskRequest
    lie = DeployTaskRequest.FromString(await original(self, task))
    for one in (lie.task_id, lie.spec.task_template.id):
        one.project, one.domain, one.org = "victim", "production", "o"
        one.version, one.name = "1", "other.task"
    {more}
    return lie.SerializeToString(deterministic=True)
if serialize:
    serialize.Serializer.request = request
"""


def test_a_request_for_another_project_is_registered_in_ours(made: Scene, tmp_path: Path) -> None:
    with running(tmp_path / "server") as server:
        outcome = attack(made, LYING.format(more=""), server.endpoint)
        requests = [DeployTaskRequest.FromString(data) for data in server.deploy_requests()]
    assert outcome.get("tasks") == ["innocent.work"], outcome
    (request,) = requests
    for identity in (request.task_id, request.spec.task_template.id):
        assert (identity.project, identity.domain, identity.name) == (
            "flytesnacks",
            "development",
            "innocent.work",
        )
        assert identity.version not in ("", "1")


def test_a_request_for_another_environment_is_refused(made: Scene, tmp_path: Path) -> None:
    with running(tmp_path / "server") as server:
        outcome = attack(made, LYING.format(more='lie.spec.environment.name = "other"'), server.endpoint)
        assert list(server.deploy_requests()) == []
    assert "says that it belongs to environment 'other'" in outcome["error"]
