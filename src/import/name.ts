/** Names in the configuration made from addresses. */

/** An address or prefix as part of a name: letters, digits, "." and "-". */
export function label(address: string): string {
  const text = address.replace(/[:/]/g, '-');
  return text.startsWith('-') ? `0${text}` : text;
}
