// Reads Server-Sent Events from the body of an answer. `EventSource` would hide two things that the page needs: the comments
// by which a quiet stream shows that it is alive, and the status of a refusal.

/** An event longer than this is not ours; the stream is given up instead of filling the memory. */
const EVENT_MAX_CHARS = 1 << 20;

/** Turns pieces of text into events. */
export class EventParser {
  /** @param {(event: {id: string | null, name: string, data: string}) => void} emit */
  constructor(emit) {
    this.emit = emit;
    this.rest = "";
  }

  /** @param {string} text */
  push(text) {
    const blocks = (this.rest + text).split("\n\n");
    this.rest = blocks.pop() ?? "";
    if (this.rest.length > EVENT_MAX_CHARS) throw new Error("an event of the stream is too long");
    for (const block of blocks) this.#parse(block);
  }

  /** @param {string} block */
  #parse(block) {
    /** @type {{id: string | null, name: string, data: string}} */
    const event = { id: null, name: "message", data: "" };
    for (const line of block.split("\n")) {
      const colon = line.indexOf(":");
      if (colon <= 0) continue;
      const value = line.slice(colon + 1).replace(/^ /, "");
      const field = line.slice(0, colon);
      if (field === "id") event.id = value;
      else if (field === "event") event.name = value;
      else if (field === "data") event.data += value;
    }
    this.emit(event);
  }
}
