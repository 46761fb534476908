// testcontainers against DOCKER_HOST; the last line says what was seen, as JSON.
// usage: testcontainers.cjs whole FOLDER | postgres | dies | reuse | exposes | compose FOLDER | build FOLDER classic | build FOLDER buildkit
const fs = require("fs");
const http = require("http");
const net = require("net");
const path = require("path");
const { PostgreSqlContainer } = require("@testcontainers/postgresql");
const { RedisContainer } = require("@testcontainers/redis");
const {
  DockerComposeEnvironment,
  GenericContainer,
  Network,
  TestContainers,
  Wait,
  getContainerRuntimeClient,
} = require("testcontainers");

const BUSYBOX = "busybox:latest";
const SERVED = "echo ready; exec httpd -f -p 8080 -h /www";
const STAYS = ["sh", "-c", "trap exit TERM; sleep 300 & wait"];
const PROBE = { test: ["CMD", "wget", "-qO/dev/null", "http://127.0.0.1:8080/"], interval: 200 };
const SESSION = "org.testcontainers.session-id";

function talk(host, port, text) {
  return new Promise((resolve, reject) => {
    const pieces = [];
    const socket = net.connect(port, host, () => socket.write(text));
    socket.on("data", (piece) => pieces.push(piece));
    socket.on("end", () => resolve(Buffer.concat(pieces).toString()));
    socket.on("error", reject);
  });
}

const verbs = {
  // The folder has the file "given".
  async whole(folder) {
    const said = {};
    const network = await new Network().start();
    const lines = [];
    const server = await new GenericContainer(BUSYBOX)
      .withCommand(["sh", "-c", SERVED])
      .withNetwork(network)
      .withNetworkAliases("server")
      .withEnvironment({ NAME: "value" })
      .withBindMounts([{ source: folder, target: "/bound", mode: "rw" }])
      .withTmpFs({ "/scratch": "size=1m" })
      .withCopyContentToContainer([{ content: "served\n", target: "/www/index.html" }])
      .withCopyFilesToContainer([{ source: path.join(folder, "given"), target: "/www/given", mode: 0o640 }])
      .withCopyDirectoriesToContainer([{ source: folder, target: "/www/all" }])
      .withHealthCheck(PROBE)
      .withExposedPorts(8080)
      .withLogConsumer((stream) => stream.on("data", (line) => lines.push(line)))
      .withWaitStrategy(
        Wait.forAll([
          Wait.forLogMessage("ready"),
          Wait.forHealthCheck(),
          Wait.forListeningPorts(),
          Wait.forHttp("/", 8080),
          Wait.forSuccessfulCommand("test -e /www/all/given"),
        ]),
      )
      .start();
    const asks = await new GenericContainer(BUSYBOX).withCommand(STAYS).withNetwork(network).start();
    const found = await asks.exec(["wget", "-qO-", "http://server:8080/"]);
    said.alias = [found.exitCode, found.output];
    said.bound = (await server.exec("cat /bound/given")).output;
    said.copied = (await server.exec(["stat", "-c", "%a %s", "/www/given"])).output;
    await server.exec(["sh", "-c", "echo from inside > /bound/written"]);
    said.written = fs.readFileSync(path.join(folder, "written")).toString();
    const words = ["sh", "-c", "echo $A $NAME $PWD; echo apart >&2; exit 3"];
    const configured = await server.exec(words, { env: { A: "a" }, workingDir: "/tmp" });
    said.configured = [configured.exitCode, configured.stdout, configured.stderr];
    const answer = await fetch(`http://${server.getHost()}:${server.getMappedPort(8080)}/given`);
    said.fetched = await answer.text();
    await server.restart();
    said.again = (await asks.exec(["wget", "-qO-", "http://server:8080/"])).output;
    said.line = lines[0].trim();
    await asks.stop();
    await server.stop();
    await network.stop();

    const redis = await new RedisContainer("redis:7").withPassword("secret").start();
    said.redis = await talk(redis.getHost(), redis.getPort(), "AUTH secret\r\nSET key value\r\nGET key\r\nQUIT\r\n");
    await redis.stop();
    return said;
  },

  async postgres() {
    const made = await new PostgreSqlContainer("postgres:15").withDatabase("base").withUsername("user").start();
    const ask = async (text) => {
      const words = ["psql", "-tA", "-v", "ON_ERROR_STOP=1", made.getConnectionUri().replace(/:\d+\//, ":5432/")];
      const { exitCode, output } = await made.exec([...words, "-c", text]);
      return [exitCode, output.trim()];
    };
    const said = [await ask("create table t as select 42 as a")];
    await made.snapshot();
    said.push(await ask("delete from t"));
    await made.restoreSnapshot();
    said.push(await ask("select a, current_user from t"));
    await made.stop();
    return said;
  },

  // Says its session when all of it is there, and waits to be killed.
  async dies() {
    const network = await new Network().start();
    const made = await new GenericContainer(BUSYBOX).withCommand(STAYS).withNetwork(network).start();
    const session = made.getLabels()[SESSION];
    const { dockerode } = (await getContainerRuntimeClient()).container;
    await dockerode.createVolume({ Name: session, Labels: { [SESSION]: session } });
    await made.commit({ repo: session, tag: "1", deleteOnExit: true });
    console.log(session);
    await new Promise(() => setInterval(() => {}, 1000));
  },

  // Says which container it has: the one of an earlier call, where that still runs.
  async reuse() {
    const words = ["sh", "-c", `mkdir /www; ${SERVED}`];
    const made = await new GenericContainer(BUSYBOX).withCommand(words).withExposedPorts(8080).withReuse().start();
    return made.getId();
  },

  // What containers are told by a server of the host's: in the default network, and in one of their own.
  async exposes() {
    const server = http.createServer((_, answer) => answer.end("of the host\n")).listen(0, "127.0.0.1");
    await new Promise((resolve) => server.on("listening", resolve));
    const { port } = server.address();
    await TestContainers.exposeHostPorts(port);
    const network = await new Network().start();
    const asked = [new GenericContainer(BUSYBOX), new GenericContainer(BUSYBOX).withNetwork(network)];
    const said = [];
    for (const each of asked) {
      const made = await each.withCommand(STAYS).start();
      said.push((await made.exec(["wget", "-qO-", `http://host.testcontainers.internal:${port}/`])).output);
      await made.stop();
    }
    return said;
  },

  async compose(folder) {
    const project = await new DockerComposeEnvironment(folder, "compose.yaml")
      .withWaitStrategy("web-1", Wait.forLogMessage("ready"))
      .withEnvironment({ SAID: "by testcontainers" })
      .up();
    const web = project.getContainer("web-1");
    const answer = await fetch(`http://${web.getHost()}:${web.getMappedPort(8080)}/`);
    const said = await answer.text();
    await project.down();
    return said;
  },

  async build(folder, builder) {
    const asked = GenericContainer.fromDockerfile(folder).withBuildArgs({ SAID: "built" });
    const image = await (builder === "buildkit" ? asked.withBuildkit() : asked).build();
    const made = await image.withCommand(STAYS).start();
    const { output } = await made.exec("cat /said");
    await made.stop();
    return output;
  },
};

verbs[process.argv[2]](...process.argv.slice(3))
  .then((said) => {
    console.log(JSON.stringify(said));
    process.exit(0);
  })
  .catch((error) => {
    console.error(error);
    process.exit(1);
  });
