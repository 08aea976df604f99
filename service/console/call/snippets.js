/** The current settings as commands and programs that run as they are pasted. */

/**
 * Return the texts by name for the form's settings and the address of the call.
 *
 * A token is never in them: they take it from the environment variable TOKEN.
 * @param {CallSettings} settings
 * @param {string} url
 */
export function snippets(settings, url) {
  return {
    "rt-audio": commandLine(settings, url),
    python: python(settings, url),
    javascript: javascript(settings, url),
    websocat: websocat(settings, url),
  };
}

const NAMES = { pcm16: "16-bit PCM", ulaw: "mu-law", alaw: "A-law" };
const SILENCE = { pcm16: 0x00, ulaw: 0xff, alaw: 0xd5 }; // of the encodings' bytes

/** @param {CallSettings} settings */
const frameBytes = ({ rate, frameMs, encoding }) =>
  ((rate * frameMs) / 1000) * (encoding === "pcm16" ? 2 : 1);
/** @param {CallSettings} settings */
const framesASecond = ({ frameMs }) => Math.round(1000 / frameMs);
/** @param {CallSettings} settings */
const hex = ({ encoding }) => SILENCE[encoding].toString(16).padStart(2, "0");
/** @param {CallSettings} settings */
const words = ({ frameMs, encoding, rate }) =>
  `${frameMs} ms of silence: ${NAMES[encoding]} at ${rate} Hz, mono`;

/**
 * @param {CallSettings} settings
 * @param {string} url
 */
function commandLine({ reply, codec, guarded, frameMs, encoding }, url) {
  const { protocol, host, pathname } = new URL(url);
  const page = `${protocol === "wss:" ? "https:" : "http:"}//${host}`;
  const lines = [
    "rt-audio stream speech.wav",
    `--url ${protocol}//${host}${pathname}`,
    ...(encoding === "pcm16" ? [] : [`--encoding ${encoding}`]),
    `--reply ${reply}`,
    ...(codec ? [`--codec ${codec}`] : []),
    ...(frameMs === 20 ? [] : [`--frame-ms ${frameMs}`]),
    ...(guarded ? ['--token "$TOKEN"'] : []),
    "--speed 8",
    "--out back.wav",
  ];
  return `# In a clone of the project: PATH="$PWD/.venv/bin:$PATH"
# Without --speed it sends in real time.
curl -sO ${page}${pathname.replace("ws/audio", "console/audio/speech.wav")}
${lines.join(" \\\n  ")}
`;
}

/**
 * @param {CallSettings} settings
 * @param {string} url
 */
function python(settings, url) {
  const { frameMs, guarded } = settings;
  const filled = `b"\\x${hex(settings)}" * ${frameBytes(settings)}`;
  const header = guarded ? '\n        extra_headers=[("Authorization", "Bearer " + TOKEN)],' : "";
  return `# pip install trio-websocket
${guarded ? "import os\n\n" : ""}import trio
from trio_websocket import open_websocket_url

${guarded ? 'TOKEN = os.environ["TOKEN"]\n' : ""}FRAME = ${filled}  # ${words(settings)}


async def main() -> None:
    async with open_websocket_url(
        "${url}",${header}
    ) as call:
        for _ in range(${framesASecond(settings)}):  # a second, in real time
            await call.send_message(FRAME)
            reply = await call.get_message()
            await trio.sleep(${frameMs / 1000})
    print(len(reply), "bytes came back for", len(FRAME))


trio.run(main)
`;
}

/**
 * @param {CallSettings} settings
 * @param {string} url
 */
function javascript(settings, url) {
  const { frameMs, guarded } = settings;
  const asked = 'const token = globalThis.process?.env.TOKEN ?? prompt("Token");\n';
  const filled = `new Uint8Array(${frameBytes(settings)}).fill(0x${hex(settings)})`;
  return `// For the browser's console on this page, or for Node.js 22.
${guarded ? asked : ""}const frame = ${filled}; // ${words(settings)}
const call = new WebSocket("${url}"${guarded ? ', ["bearer." + token]' : ""});
let frames = ${framesASecond(settings)}; // a second, in real time
let timer;
call.binaryType = "arraybuffer";
call.onopen = () => (timer = setInterval(() => call.send(frame), ${frameMs}));
call.onmessage = ({ data }) => {
  console.log(data.byteLength, "bytes came back for", frame.length);
  if (--frames === 0) call.close(1000);
};
call.onclose = ({ code, reason }) => {
  clearInterval(timer);
  console.log("closed with", code, reason);
};
`;
}

/**
 * @param {CallSettings} settings
 * @param {string} url
 */
function websocat(settings, url) {
  const size = frameBytes(settings);
  const header = settings.guarded ? ' \\\n    -H="Authorization: Bearer $TOKEN"' : "";
  return `# Zero bytes for a second, sent as fast as it goes; prints how many bytes came back.
head -c ${size * framesASecond(settings)} /dev/zero |
  websocat --binary --buffer-size ${size}${header} \\
    '${url}' |
  wc -c
`;
}
