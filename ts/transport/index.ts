/**
 * The door of `balsa-raft/transport`: everything that a transport is written with. The two that come with Balsa use
 * nothing else, and docs/transports.md says how to write another.
 */

export type {
  AppendEntries,
  AppendEntriesResult,
  PreVote,
  PreVoteResult,
  Request,
  RequestVote,
  RequestVoteResult,
  Response,
  TimeoutNow,
} from '../core/messages.js'
export type {
  Block,
  Boot,
  CancelTimer,
  Clock,
  Identity,
  Introduction,
  Logger,
  LogIndex,
  Recipe,
  Server,
  ServerId,
  Term,
} from '../types.js'
export { messageFlaw } from '../core/message-check.js'
export { notNew } from './not-new.js'
export { QuietLog } from './quiet-log.js'
export { Strangers } from './strangers.js'
export type { Stranger } from './strangers.js'
export {
  BOOT_UNPROVEN,
  closedByPeer,
  identityRefusal,
  isOfThePeer,
  isSameBoot,
  NO_ANSWER,
  notAPeer,
  peerChanged,
  refusalOf,
  refusedByPeer,
  serverCloses,
  takesNoChannels,
  takesNoClients,
  tooManyChannels,
  unauthenticated,
} from './refusal.js'
export type { ConnectionRefusal, Refusal, StoreBoot } from './refusal.js'
export type { Channel, ChannelHandlers } from './channel.js'
export type { ClientOpening, ConnectionEnd, LinkId, Session, Transport, TransportHandlers } from './transport.js'
export { ANSWER_BYTES_MAX, QUESTION_BYTES_MAX } from './transport.js'
export { CHANNEL_FRAME_BYTES_MAX, channelFrameFlaw, CHANNELS_MAX } from './channel.js'
export { decodeFrame } from './wire/codec.js'
export type { Frame } from './wire/codec.js'
export { CHANNEL_WIRE_BYTES_MAX, encodeChannelFrame, encodePing } from './wire/channel-codec.js'
export type { ChannelFrame, Ping } from './wire/channel-codec.js'
export { encodeClientHello, encodeClientWelcome } from './wire/client-handshake.js'
export type { ClientHello, ClientWelcome } from './wire/client-handshake.js'
export { CHANNEL_REQUIRES, commonFeatures, FEATURES, NO_FEATURES } from './wire/features.js'
export type { Feature, FeatureSet } from './wire/features.js'
export {
  FRAME_BYTES_MAX,
  FRAME_BYTES_MIN,
  frameLengthAt,
  FRAME_HEADER_BYTES,
  frameMemory,
  HEAD_BYTES_MAX,
  headFlaw,
} from './wire/frame.js'
export type { FrameMemory, Malformed } from './wire/frame.js'
export {
  encodeGoodbye,
  encodeHello,
  encodeRefusal,
  encodeWelcome,
  foreignRefusal,
  introductionOf,
  PROTOCOL,
} from './wire/handshake.js'
export type { ForeignHello, Goodbye, Hello, ProtocolRange, RefusalFrame, Welcome } from './wire/handshake.js'
export { encodeHead, encodeMessage, isUnderstood, MESSAGE_HEAD_BYTES_MAX } from './wire/message-codec.js'
export { encodeProof, PROOF_BYTES } from './wire/proof-codec.js'
export type { Proof } from './wire/proof-codec.js'
export { ANSWER_WIRE_BYTES_MAX, encodeAnswer, encodeQuestion } from './wire/question-codec.js'
export type { Answer, Question } from './wire/question-codec.js'
