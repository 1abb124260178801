/** The settings of one peer: what the run fixes for everybody, and what the peer is. */

import { SettingsError } from "../errors.ts";
import { fromBase64url } from "../wire/base64url.ts";
import { Codec, isModular } from "../wire/codec.ts";
import { PeerKind } from "../wire/messages.ts";

/** A peer's Ed25519 public key, 43 characters of base64url. */
export type PeerId = string;

export const PEER_ID_BYTES = 32;

/** Settings of `Peer`; times in seconds. */
export interface PeerConfig {
  readonly peerId: PeerId;
  /** The first 8 bytes of the run's digest. */
  readonly runTag: Uint8Array;
  readonly kind: PeerKind;
  readonly agent: string;
  readonly codec: Codec;
  readonly pullCodec: Codec;
  /** Mean time between two exchanges that this peer begins; each pause is uniform in half to one and a half of it. */
  readonly exchangeIntervalS: number;
  /** Links that the peer opens of itself; it accepts twice as many. */
  readonly viewSize: number;
  readonly tokenCapacity: number;
  /** Tokens that time alone gives back at each tick of the exchange clock. */
  readonly tokenGrant: number;
  readonly heartbeatIntervalS: number;
  readonly linkTimeoutS: number;
  readonly exchangeTimeoutS: number;
  readonly exchangeResendsMax: number;
  readonly connectTimeoutS: number;
  /** How long a newcomer waits for somebody to pull the model from before it starts from the initial vector. */
  readonly joinTimeoutS: number;
  readonly pullTimeoutS: number;
  readonly introduceIntervalS: number;
  /** Mean time after which one link of a full view is replaced by another, uniform in half to one and a half of it; 0: never. */
  readonly refreshIntervalS: number;
  /** How often a tracker pulls the models of its view. */
  readonly evaluationIntervalS: number;
  readonly offencesMax: number;
  readonly clipFactor: number;
  readonly normFactor: number;
}

const DEFAULTS = {
  kind: PeerKind.BROWSER,
  agent: "meshlearn",
  codec: Codec.MODULAR8,
  pullCodec: Codec.LINEAR8,
  exchangeIntervalS: 0.1,
  viewSize: 8,
  tokenCapacity: 10,
  tokenGrant: 0.1,
  heartbeatIntervalS: 2,
  linkTimeoutS: 8,
  exchangeTimeoutS: 4,
  exchangeResendsMax: 2,
  connectTimeoutS: 20,
  joinTimeoutS: 15,
  pullTimeoutS: 6,
  introduceIntervalS: 5,
  refreshIntervalS: 60,
  evaluationIntervalS: 2,
  offencesMax: 5,
  clipFactor: 4,
  normFactor: 2,
} as const;

/** Who the peer is, and the settings that differ from the defaults. Raises SettingsError where one is out of its range. */
export function makeConfig(
  settings: Pick<PeerConfig, "peerId" | "runTag"> & Partial<PeerConfig>,
): PeerConfig {
  const config: PeerConfig = { ...DEFAULTS, ...settings };
  if (fromBase64url(config.peerId, PEER_ID_BYTES) === null || config.runTag.length !== 8) {
    throw new SettingsError("a peer id is 32 bytes and a run tag 8");
  }
  if (!(Number.isInteger(config.viewSize) && config.viewSize >= 1 && config.viewSize <= 64)) {
    throw new SettingsError(`view_size is ${config.viewSize}; give a number of links from 1 to 64`);
  }
  if (!(config.exchangeIntervalS > 0)) {
    throw new SettingsError("exchange_interval_s must be more than 0 seconds");
  }
  if (!(config.refreshIntervalS >= 0 && Number.isFinite(config.refreshIntervalS))) {
    throw new SettingsError("refresh_interval_s must be a number of seconds, or 0 for never");
  }
  if (isModular(config.pullCodec)) {
    throw new SettingsError("pull_codec must be an absolute codec: float32, float16, linear8 or dynamic8");
  }
  if (!(config.heartbeatIntervalS > 0 && config.heartbeatIntervalS < config.linkTimeoutS)) {
    throw new SettingsError("link_timeout_s must be longer than heartbeat_interval_s");
  }
  return config;
}

/** Whether the peer takes part in averaging; a tracker only listens. */
export function trains(config: PeerConfig): boolean {
  return config.kind !== PeerKind.TRACKER;
}

/** Links the peer holds at most, opened by it or by others. */
export function linksMax(config: PeerConfig): number {
  return 2 * config.viewSize;
}
