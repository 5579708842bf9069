/** As a service's IP protocol: whatever it is. No packet has such a number. */
export const PROTOCOL_ANY = 256;
