// dockerode against DOCKER_HOST; the last line says what was seen, as JSON.
const { PassThrough } = require("stream");
const Docker = require("dockerode");

const IMAGE = "busybox:latest";
const said = {};

function text(stream) {
  return new Promise((resolve, reject) => {
    const pieces = [];
    stream.on("data", (piece) => pieces.push(piece));
    stream.on("end", () => resolve(Buffer.concat(pieces).toString()));
    stream.on("error", reject);
  });
}

async function dockerode() {
  const docker = new Docker({ socketPath: process.env.DOCKER_HOST.replace("unix://", "") });
  const events = await docker.getEvents({ filters: { type: ["container"], label: ["story"] } });
  const actions = [];
  const destroyed = new Promise((resolve) => {
    events.on("data", (piece) => {
      for (const line of piece.toString().split("\n").filter(Boolean)) actions.push(JSON.parse(line).Action);
      if (actions.includes("destroy")) resolve();
    });
  });
  const out = new PassThrough();
  const printed = text(out);
  const labels = { Labels: { story: "1" }, Tty: true };
  await docker.run(IMAGE, ["echo", "hi"], out, { ...labels, HostConfig: { AutoRemove: true } });
  out.end();
  said.ran = (await printed).replace("\r", "");
  await destroyed;
  events.destroy();
  said.events = actions.filter((action) => ["create", "start", "die", "destroy"].includes(action));

  const made = await docker.createContainer({ Image: IMAGE, Cmd: ["sleep", "300"] });
  await made.start();
  const added = await made.exec({ Cmd: ["echo", "added"], AttachStdout: true, AttachStderr: true });
  const stream = await added.start({});
  const plain = new PassThrough();
  const seen = text(plain);
  docker.modem.demuxStream(stream, plain, plain);
  stream.on("end", () => plain.end());
  said.added = await seen;
  said.status = (await added.inspect()).ExitCode;
  await made.remove({ force: true });
}

dockerode()
  .then(() => {
    console.log(JSON.stringify(said));
    process.exit(0);
  })
  .catch((error) => {
    console.error(error);
    process.exit(1);
  });
