// One socket to the server: JSON state and binary pictures come in, commands go out.
// It comes back by itself. What is pressed while it is gone is not sent later: a command counts now or never.

const RETRY_MS = 1000;

export class Socket {
  #socket = null;
  #serverS = 0; // the server's clock in the newest state, [s]
  #heardMs = 0; // when that state came, by our clock

  // `on` may have state(object), picture(number, Blob), reply(object) and link(bool: is it there?).
  constructor(path, on) {
    this.path = path;
    this.on = on;
    this.#open();
  }

  #open() {
    const url = new URL(this.path + location.search, location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(url);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => this.on.link?.(true);
    socket.onmessage = ({ data }) => this.#receive(data);
    socket.onclose = () => {
      this.on.link?.(false);
      setTimeout(() => this.#open(), RETRY_MS);
    };
    this.#socket = socket;
  }

  #receive(data) {
    if (data instanceof ArrayBuffer) {
      const number = new Uint8Array(data, 0, 1)[0];
      this.on.picture?.(number, new Blob([new Uint8Array(data, 1)], { type: "image/jpeg" }));
      return;
    }
    const message = JSON.parse(data);
    if (message.reply !== undefined) {
      this.on.reply?.(message);
      return;
    }
    this.#serverS = message.now_s;
    this.#heardMs = performance.now();
    this.on.state?.(message);
  }

  // Send {do: command, at_s: when it was given by the server's clock, ...more}; false when nobody is there.
  send(command, more = {}) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    const at_s = this.#serverS + (performance.now() - this.#heardMs) / 1000;
    this.#socket.send(JSON.stringify({ do: command, at_s, ...more }));
    return true;
  }
}
