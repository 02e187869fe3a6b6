/** Byte classes of HTTP/1.1 (RFC 9110 §5.6.2, RFC 9112 §3 and §5), as tables. @hot */

export const HT = 0x09;
export const LF = 0x0a;
export const CR = 0x0d;
export const SP = 0x20;
export const QUOTE = 0x22;
export const SLASH = 0x2f;
export const COLON = 0x3a;
export const SEMICOLON = 0x3b;
export const EQUALS = 0x3d;
export const BACKSLASH = 0x5c;

function tableOf(of: (byte: number) => number): Uint8Array {
  const table = new Uint8Array(256);
  for (let byte = 0; byte < 256; byte += 1) table[byte] = of(byte);
  return table;
}

const TOKEN_MARKS = new Set("!#$%&'*+-.^_`|~");

function isTokenByte(byte: number): boolean {
  const char = String.fromCharCode(byte);
  return /[0-9A-Za-z]/.test(char) || TOKEN_MARKS.has(char);
}

/** A token character in lower case; 0 where the byte is none. */
export const TOKEN_LOWER: Uint8Array = tableOf((byte) =>
  isTokenByte(byte) ? String.fromCharCode(byte).toLowerCase().charCodeAt(0) : 0,
);

/** 1 where a field value may hold the byte: HTAB, SP, VCHAR, obs-text. */
export const IS_VALUE: Uint8Array = tableOf((byte) =>
  byte === HT || (byte >= SP && byte !== 0x7f) ? 1 : 0,
);

/** 1 where a request target may hold the byte: visible ASCII without `#`. */
export const IS_TARGET: Uint8Array = tableOf((byte) =>
  byte > SP && byte < 0x7f && byte !== 0x23 ? 1 : 0,
);

/** 1 where a Host value may hold the byte: what an authority without user information needs. */
export const IS_HOST: Uint8Array = tableOf((byte) =>
  /[0-9A-Za-z.\-_~:[\]%!$&'()*+;=]/.test(String.fromCharCode(byte)) ? 1 : 0,
);

/** Value of a hexadecimal digit; 255 where the byte is none. */
export const HEX_VALUE: Uint8Array = tableOf((byte) => {
  const char = String.fromCharCode(byte);
  return /[0-9A-Fa-f]/.test(char) ? Number.parseInt(char, 16) : 255;
});
