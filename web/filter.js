// What a list or a feed lets through, decided as the API decides it.

/** The parameters that the list and the stream share. */
const SHARED = ["source", "id_prefix", "status", "close_code", "cause", "address"];

/**
 * @param {URLSearchParams} query
 * @returns {import("./types").Filter}
 */
export function filterOf(query) {
  const value = (/** @type {string} */ name) => query.get(name) ?? "";
  return {
    type: query.getAll("type"),
    source: query.getAll("source"),
    id_prefix: value("id_prefix"),
    status: value("status"),
    close_code: value("close_code"),
    cause: query.getAll("cause"),
    address: value("address"),
  };
}

/**
 * What the stream is asked for with the same filters.
 * @param {URLSearchParams} query
 */
export function streamQuery(query) {
  const kept = new URLSearchParams();
  for (const [name, value] of query) if (name === "type" || SHARED.includes(name)) kept.append(name, value);
  return kept.toString();
}

/**
 * @param {import("./types").Filter} filter
 * @param {import("./types").Device} device
 */
export function matches(filter, device) {
  if (filter.type.length > 0 && !filter.type.includes(device.type)) return false;
  if (filter.source.length > 0 && !filter.source.includes(device.source ?? "")) return false;
  if (filter.id_prefix && !device.id.startsWith(filter.id_prefix)) return false;
  if (filter.status && device.status !== filter.status) return false;
  if (filter.close_code && String(device.close_code) !== filter.close_code) return false;
  if (filter.cause.length > 0 && !filter.cause.includes(device.cause_class ?? "")) return false;
  return !filter.address || isWithin(device.address, filter.address);
}

/**
 * @param {string} text
 * @returns {{bits: bigint, size: number} | null}
 */
function parse(text) {
  if (text.includes(":")) return parseV6(text);
  const parts = text.split(".");
  if (parts.length !== 4 || parts.some((part) => !/^\d{1,3}$/.test(part) || Number(part) > 255)) return null;
  return { bits: parts.reduce((bits, part) => (bits << 8n) | BigInt(part), 0n), size: 32 };
}

/** @param {string} text */
function parseV6(text) {
  const halves = text.split("::");
  if (halves.length > 2) return null;
  const [head = [], tail = []] = halves.map((half) => (half === "" ? [] : half.split(":")));
  const missing = 8 - head.length - tail.length;
  if (halves.length === 2 ? missing < 0 : missing !== 0) return null;
  const groups = [...head, ...Array(missing).fill("0"), ...tail];
  if (groups.some((group) => !/^[0-9a-f]{1,4}$/i.test(group))) return null;
  return { bits: groups.reduce((bits, group) => (bits << 16n) | BigInt(`0x${group}`), 0n), size: 128 };
}

/**
 * @param {string | null} address
 * @param {string} block an address, or a block such as `192.0.2.0/24`
 */
function isWithin(address, block) {
  if (!address) return false;
  const [base = "", length] = block.split("/", 2);
  const wanted = parse(base);
  const found = parse(address);
  if (!wanted || !found || wanted.size !== found.size) return false;
  const prefix = length === undefined ? wanted.size : Number(length);
  const shift = BigInt(Math.max(0, wanted.size - prefix));
  return wanted.bits >> shift === found.bits >> shift;
}
