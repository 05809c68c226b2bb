// What a list or a feed lets through, decided as the API decides it.

/** The parameters that the list and the stream share. */
const SHARED = ["source", "id", "id_prefix", "status", "close_code", "cause", "address", "expectation"];

/**
 * @param {URLSearchParams} query
 * @returns {import("./types").Filter}
 */
export function filterOf(query) {
  return {
    type: query.getAll("type"),
    source: query.getAll("source"),
    id: query.getAll("id"),
    id_prefix: query.getAll("id_prefix"),
    status: query.getAll("status"),
    close_code: query.getAll("close_code"),
    cause: query.getAll("cause"),
    address: query.getAll("address"),
    expectation: query.getAll("expectation"),
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
  const admits = (/** @type {string[]} */ wanted, /** @type {(one: string) => boolean} */ is) => wanted.length === 0 || wanted.some(is);
  return (
    admits(filter.type, (type) => device.type === type) &&
    admits(filter.source, (source) => device.source === source) &&
    admits(filter.id, (id) => device.id === id) &&
    admits(filter.id_prefix, (prefix) => device.id.startsWith(prefix)) &&
    admits(filter.status, (status) => device.status === status) &&
    admits(filter.close_code, (code) => String(device.close_code) === code) &&
    admits(filter.cause, (cause) => device.cause_class === cause) &&
    admits(filter.address, (block) => isWithin(device.address, block)) &&
    admits(filter.expectation, (expectation) => device.expectation === expectation)
  );
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
