/**
 * The frames of the link; `docs/reference/link-protocol.md` describes them for other languages. Every frame is a length
 * (4 bytes, big-endian, of what follows), a type (1 byte), and an id (4 bytes). The id's low bits are the slot that the
 * caller keeps its open call in, its high bits count the slot's uses, so a late answer cannot meet a newer call.
 */
export const frameType = {
  hello: 1,
  call: 2,
  reply: 3,
  error: 4,
  cancel: 5,
  item: 6,
  end: 7,
  credit: 8,
  ping: 9,
  pong: 10,
  goaway: 11,
} as const;

/** Type and id. */
export const frameHeadBytes = 5;
export const magic = 0x544e444d; // "TNDM"
/** Versions of the protocol that this code speaks, both ends included. */
export const versionMin = 1;
export const versionMax = 1;
/** Before the hello nothing longer is read, so a stranger (an HTTP client, say) is found out by its first bytes. */
export const helloBytesMax = 64;

/** Flags of a call. */
export const callFlag = { priority: 0b11, stream: 0b100, items: 0b1000, meta: 0b1_0000, named: 0b10_0000 } as const;
/** Flags of a reply. */
export const replyFlag = { meta: 1 } as const;

/** Slots of open calls: the id's low bits. */
export const slotBits = 14;
export const slotMask: number = (1 << slotBits) - 1;

/** Names that one connection numbers; calls of further methods carry theirs each time, with this number. */
export const methodsMax = 1024;
export const methodUnnumbered = 0xffff;
/** "No deadline" in the field of remaining milliseconds. */
export const noDeadline = 0xffff_ffff;

/** Bytes of items that may be under way unread, per stream and direction. */
export const streamWindowBytes = 262_144;
