"""What the programs in this folder share."""
import glob, os, re, shutil, signal, socket, subprocess, sys, tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
GATEWAY = os.environ.get("SESSIONGATE", os.path.join(ROOT, "target/release/sessiongate"))
FOLDER = tempfile.mkdtemp(prefix="sessiongate-bench-")
# Also a cancelled run stops what it has started.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
# What was started, to be stopped in the end.
started = []


def bare_pingora():
    """The peer that `cargo bench --no-run` has built last."""
    built = [path for path in glob.glob(os.path.join(ROOT, "target/release/deps/bare_pingora-*")) if "." not in os.path.basename(path)]
    if not built and "BARE" not in os.environ:
        raise SystemExit("bare Pingora is missing: cargo bench --no-run")
    return os.environ.get("BARE") or max(built, key=os.path.getmtime)


def cpu(pid):
    """Seconds of user and system time."""
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid):
    """Kilobytes of resident memory."""
    return int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{pid}/status").read()).group(1))


def port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start(command, **options):
    process = subprocess.Popen(command, **options)
    started.append(process)
    return process


def stop():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for process in started:
        process.kill()
    for process in started:
        process.wait()
    # After a failure its messages may name what is in there.
    why = sys.exc_info()[1]
    if why is None or isinstance(why, SystemExit) and why.code == 143:
        shutil.rmtree(FOLDER, ignore_errors=True)


def write(name, text, mode="w"):
    with open(f"{FOLDER}/{name}", mode) as file:
        file.write(text)
    return f"{FOLDER}/{name}"


def sandbox_command():
    """The simulated providers, which say their addresses and tokens as JSON."""
    return [GATEWAY, "sandbox", "--json", "--rate", "0"] + [f"--{name}=127.0.0.1:0" for name in ("listen", "admin", "control", "auth0", "zitadel", "zitadel-verified")]


def set_session(session):
    """`SetSessionRequest` with metadata `tier: pro`, in a frame of gRPC."""
    field = lambda number, content: bytes([number << 3 | 2, len(content)]) + content
    message = field(1, session.encode()) + field(4, field(1, b"tier") + field(2, b"pro"))
    return b"\0" + len(message).to_bytes(4, "big") + message
