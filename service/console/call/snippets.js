/** The current settings as commands and programs to copy. A token is never in them. */

/** Return the texts by name for settings' values and the address of the call. */
export function snippets(values, url) {
  return {
    "rt-audio": commandLine(values, url),
    python: python(values, url),
    javascript: javascript(values, url),
    websocat: websocat(values, url),
  };
}

const frameBytes = ({ rate, frameMs, encoding }) =>
  ((rate * frameMs) / 1000) * (encoding === "pcm16" ? 2 : 1);

function commandLine(values, url) {
  const { reply, codec, token, frameMs, encoding } = values;
  const lines = [
    "rt-audio stream speech.wav",
    `--url ${url.replace(/\?.*/, "")}`,
    `--reply ${reply}`,
    ...(codec ? [`--codec ${codec}`] : []),
    ...(frameMs === 20 ? [] : [`--frame-ms ${frameMs}`]),
    ...(token ? ['--token "$TOKEN"'] : []),
    "--out back.wav",
  ];
  const notes = ["# The sample rate is the file's."];
  if (encoding !== "pcm16") notes.push(`# It always sends PCM16, not ${encoding}.`);
  return `${notes.join("\n")}\n${lines.join(" \\\n  ")}\n`;
}

function python(values, url) {
  const { frameMs, token } = values;
  const header = token
    ? ',\n        extra_headers=[("Authorization", "Bearer " + os.environ["TOKEN"])],\n    '
    : "";
  const opened = token ? `\n        "${url}"` : `"${url}"`;
  return `${token ? "import os\n\n" : ""}import trio
from trio_websocket import open_websocket_url

FRAME = bytes(${frameBytes(values)})  # ${frameMs} ms of ${words(values)}


async def main() -> None:
    async with open_websocket_url(${opened}${header}) as call:
        for _ in range(${Math.round(1000 / frameMs)}):  # a second, in real time
            await call.send_message(FRAME)
            reply = await call.get_message()
            await trio.sleep(${frameMs / 1000})
    print(len(reply), "bytes came back for", len(FRAME))


trio.run(main)
`;
}

function javascript(values, url) {
  const { frameMs, token } = values;
  const protocols = token ? ', ["bearer." + token]' : "";
  return `const frame = new Uint8Array(${frameBytes(values)}); // ${frameMs} ms of ${words(values)}
const call = new WebSocket("${url}"${protocols});
call.binaryType = "arraybuffer";
call.onopen = () => setInterval(() => call.send(frame), ${frameMs});
call.onmessage = ({ data }) => console.log(data.byteLength, "bytes came back");
call.onclose = ({ code, reason }) => console.log("closed with", code, reason);
`;
}

function websocat(values, url) {
  const header = values.token ? ' \\\n  -H="Authorization: Bearer $TOKEN"' : "";
  return `# audio.raw: ${words(values)}; sent as fast as it goes
websocat --binary --buffer-size ${frameBytes(values)}${header} \\
  '${url}' \\
  < audio.raw > back.raw
`;
}

function words({ encoding, rate }) {
  const names = { pcm16: "16-bit PCM", ulaw: "mu-law", alaw: "A-law" };
  return `${names[encoding]} at ${rate} Hz, mono`;
}
