"""A real Apache Kafka (KRaft) for tests: fetched once, on loopback ports of its own, data in a temporary directory.

FERRY_KAFKA_JARS: a folder with Kafka's jars that is used instead of fetching them.
FERRY_SKIP_KAFKA=1: tests that need it end with status 77 (skipped) instead of failing where Kafka cannot be had.
"""
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
VERSION = "3.9.0"
SKIPPED = 77
JAVA = ["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto"]


class Missing(Exception):
    pass


def jars():
    """The folder of the jars; fetched by Maven into a cache outside of the source tree."""
    given = os.environ.get("FERRY_KAFKA_JARS")
    if given:
        return pathlib.Path(given)
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "ferrymq" / f"kafka-{VERSION}"
    if (cache / "complete").exists():
        return cache
    for program in ("java", "mvn"):
        if not shutil.which(program):
            raise Missing(f"{program} is not there: install openjdk-17-jre-headless and maven")
    fresh = pathlib.Path(tempfile.mkdtemp(prefix="ferry-kafka-jars-"))
    try:
        done = subprocess.run(["mvn", "-q", "-B", "-C", "-f", str(HERE / "pom.xml"), "dependency:copy-dependencies",
                               "-DincludeScope=runtime", f"-DoutputDirectory={fresh}"],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=280)
        if done.returncode != 0:
            raise Missing(f"Maven could not fetch Apache Kafka {VERSION}; is the network there?\n{done.stdout[-2000:]}")
        (fresh / "complete").touch()
        cache.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(cache, ignore_errors=True)
        shutil.copytree(fresh, cache)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return cache


def need_kafka():
    """The jars, or an end with a sentence."""
    try:
        return jars()
    except Missing as missing:
        print(f"{missing}\nSet FERRY_SKIP_KAFKA=1 to leave these tests out.", file=sys.stderr)
        sys.exit(SKIPPED if os.environ.get("FERRY_SKIP_KAFKA") == "1" else 1)


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


class Node:
    def __init__(self, cluster, number, port, controller_port):
        self.cluster, self.number, self.port, self.controller_port = cluster, number, port, controller_port
        self.advertised = port
        self.directory = os.path.join(cluster.directory, f"node{number}")
        self.process = None

    def write(self):
        os.makedirs(self.directory, exist_ok=True)
        voters = ",".join(f"{node.number}@127.0.0.1:{node.controller_port}" for node in self.cluster.nodes)
        replicas = min(3, len(self.cluster.nodes))
        lines = {
            "process.roles": "broker,controller", "node.id": self.number, "controller.quorum.voters": voters,
            "listeners": f"CLIENT://127.0.0.1:{self.port},INNER://127.0.0.1:{self.controller_port}",
            "advertised.listeners": f"CLIENT://127.0.0.1:{self.advertised}",
            "inter.broker.listener.name": "CLIENT", "controller.listener.names": "INNER",
            "listener.security.protocol.map": "CLIENT:PLAINTEXT,INNER:PLAINTEXT",
            "log.dirs": os.path.join(self.directory, "data"), "auto.create.topics.enable": "false",
            "offsets.topic.num.partitions": 3, "offsets.topic.replication.factor": replicas,
            "transaction.state.log.num.partitions": 3, "transaction.state.log.replication.factor": replicas,
            "transaction.state.log.min.isr": max(1, replicas - 1), "min.insync.replicas": max(1, replicas - 1),
            "group.initial.rebalance.delay.ms": 0, "num.partitions": 3, "log.cleaner.enable": "false",
            "num.network.threads": 2, "num.io.threads": 2, "controlled.shutdown.enable": "false",
            "broker.session.timeout.ms": 4000, "broker.heartbeat.interval.ms": 500, "offsets.load.buffer.size": 65536,
            "group.min.session.timeout.ms": 1000, "replica.lag.time.max.ms": 5000,
            "controller.quorum.election.timeout.ms": 1000, "controller.quorum.fetch.timeout.ms": 2000,
        }
        lines.update(self.cluster.settings)
        with open(os.path.join(self.directory, "server.properties"), "w", encoding="utf-8") as file:
            file.write("".join(f"{name}={value}\n" for name, value in lines.items()))

    def java(self, main, *arguments):
        return [*JAVA, f"-Dlog4j.configuration=file:{self.cluster.directory}/log4j.properties", "-cp",
                f"{self.cluster.jars}/*", main, *arguments]

    def format(self):
        subprocess.run(self.java("kafka.tools.StorageTool", "format", "-t", self.cluster.id, "-c",
                                 os.path.join(self.directory, "server.properties")),
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def start(self):
        with open(os.path.join(self.directory, "log"), "ab") as log:
            self.process = subprocess.Popen(self.java("kafka.Kafka", os.path.join(self.directory, "server.properties")),
                                            stdout=log, stderr=log)

    def kill(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def ready(self):
        with open(os.path.join(self.directory, "log"), encoding="utf-8", errors="replace") as file:
            if self.process is not None and self.process.poll() is not None:
                raise Missing("Kafka ended:\n" + file.read()[-3000:])
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            return True
        except OSError:
            return False


class Kafka:
    """One node, or three. `advertise` gives other ports than the nodes' own, for a proxy in between."""

    def __init__(self, nodes=1, settings=None, advertise=None):
        self.jars = need_kafka()
        self.directory = tempfile.mkdtemp(prefix="ferry-kafka-")
        self.settings = settings or {}
        self.id = "ferrymqForTestsAAAAAAA"
        with open(os.path.join(self.directory, "log4j.properties"), "w", encoding="utf-8") as file:
            file.write("log4j.rootLogger=WARN, out\nlog4j.appender.out=org.apache.log4j.ConsoleAppender\n"
                       "log4j.appender.out.layout=org.apache.log4j.PatternLayout\n"
                       "log4j.appender.out.layout.ConversionPattern=%d %p %m%n\n")
        ports = free_ports(2 * nodes)
        self.nodes = [Node(self, i + 1, ports[2 * i], ports[2 * i + 1]) for i in range(nodes)]
        for node, port in zip(self.nodes, advertise or []):
            node.advertised = port
        for node in self.nodes:
            node.write()
            node.format()

    @property
    def hosts(self):
        return ",".join(f"127.0.0.1:{node.advertised}" for node in self.nodes)

    @property
    def url(self):
        return f"kafka://{self.hosts}"

    def start(self):
        for node in self.nodes:
            if node.process is None:
                node.start()
        self.wait()
        return self

    def wait(self, seconds=180):
        """Until every running node answers clients."""
        deadline = time.monotonic() + seconds
        waiting = [node for node in self.nodes if node.process is not None]
        while waiting:
            waiting = [node for node in waiting if not node.ready()]
            if time.monotonic() > deadline:
                raise AssertionError(f"Kafka did not start in {seconds} s")
            time.sleep(0.1)
        while not self.brokers():
            if time.monotonic() > deadline:
                raise AssertionError(f"Kafka did not answer in {seconds} s")
            time.sleep(0.2)

    def brokers(self):
        """How many nodes a client sees."""
        done = subprocess.run(["kcat", "-b", self.hosts, "-L", "-m", "3", *self.client()], capture_output=True, text=True)
        for line in done.stdout.splitlines():
            if line.strip().endswith("brokers:"):
                return int(line.split()[0])
        return 0

    def client(self):
        return []

    def kill(self):
        for node in self.nodes:
            node.kill()

    def end(self):
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def tool(self, main, *arguments):
        """One of Kafka's own command line tools; each is a JVM, so use it seldom."""
        return subprocess.run(self.nodes[0].java(main, *arguments), capture_output=True, text=True, timeout=60)
