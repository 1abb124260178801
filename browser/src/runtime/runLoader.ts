/** From a join link to a model that can be trained: fetches the run's files and puts engine, data and replica together. */

import { DataError, MeshError } from "../errors.ts";
import { Dataset } from "../learning/dataset.ts";
import { WasmEngine } from "../learning/engineWasm.ts";
import { unpackShard } from "../learning/shards.ts";
import { Trainer } from "../learning/trainer.ts";
import { type AveragingRule, makeRule } from "../protocol/averaging.ts";
import { Replica } from "../protocol/replica.ts";
import { frameContentSize, type Zstd } from "../wire/zstd.ts";
import { chooseShards, type DataManifest, inflatedBytesMax, type Shard } from "./dataManifest.ts";
import type { Load } from "./hostMessages.ts";
import { factsOf, type Run, readInitial, readRun } from "./run.ts";
import type { RunFiles } from "./runFiles.ts";
import type { LoadingPart, LoadingProgress, RunFacts } from "./session.ts";

/** A run that is ready to be trained. */
export interface LoadedRun {
  readonly run: Run;
  readonly replica: Replica;
  readonly rule: AveragingRule;
  readonly engine: WasmEngine;
  readonly trainer: Trainer;
  readonly zstd: Zstd;
}

export interface RunLoaderParts {
  readonly files: RunFiles;
  readonly loadZstd: () => Promise<Zstd>;
  /** The bytes of the kernels that this browser runs, for one thread or for several that share a memory. */
  readonly loadKernels: (shared: boolean) => Promise<BufferSource>;
  /** Seeds the order of the examples. */
  readonly seed: number;
  readonly hearFacts: (facts: RunFacts) => void;
  readonly hearProgress: (progress: LoadingProgress) => void;
}

/** Load the run; raises UserError with a sentence. */
export async function loadRun(
  { link, peerId, dataBytesMax, coresMax }: Load,
  { files, loadZstd, loadKernels, seed, hearFacts, hearProgress }: RunLoaderParts,
): Promise<LoadedRun> {
  const hear = (part: LoadingPart, bytesTotal: number) => (bytes: number, cached: boolean) =>
    hearProgress({ part, bytes, bytesTotal: Math.max(bytes, bytesTotal), cached });
  const run = await readRun(await files.manifest(hear("manifest", 0)));
  if (run.id !== link.run) {
    throw new MeshError(
      `${link.baseUrl} serves no manifest of run ${link.run}; check that it is a meshlearn server.`,
    );
  }
  const facts = factsOf(run);
  hearFacts(facts);
  const { settings, data, spec } = run;
  const workersMax = Math.min(coresMax, facts.coresMax);
  const [zstd, kernels] = await Promise.all([loadZstd(), loadKernels(workersMax > 1)]);
  hearProgress({ part: "engine", bytes: 1, bytesTotal: 1, cached: false });
  const initial = readInitial(run, await files.initial(run.initial, hear("initial", run.initial.bytes)));
  const shards = await chooseShards(peerId, data.shards, settings.shardsPerPeer, dataBytesMax);
  const dataset = await loadData(shards, data, files, zstd, hearProgress);
  const isCorrected = settings.rule === "drift-corrected";
  const engine = await WasmEngine.load(spec, kernels, settings.batchSize, {
    scale: dataset.scale,
    optimiser: settings.optimiser,
    workersMax,
    ...(isCorrected ? { reserve: { correction: 4 * spec.parameterCount } } : {}),
  });
  engine.vector.set(initial);
  const correction = () => engine.floatRegion("correction");
  return {
    run,
    replica: new Replica(initial, settings.sliceLength, engine.vector),
    rule: makeRule(settings.rule, correction, engine.optimiser.learningRate, settings.driftGain),
    engine,
    trainer: new Trainer(engine, dataset, settings.batchSize, seed),
    zstd,
  };
}

async function loadData(
  shards: readonly Shard[],
  manifest: DataManifest,
  files: RunFiles,
  zstd: Zstd,
  hearProgress: (progress: LoadingProgress) => void,
): Promise<Dataset> {
  const bytesTotal = shards.reduce((all, shard) => all + shard.bytes, 0);
  let before = 0;
  const parts: Dataset[] = [];
  for (const shard of shards) {
    const packed = await files.shard(shard, (bytes, cached) =>
      hearProgress({ part: "data", bytes: before + bytes, bytesTotal, cached }),
    );
    before += shard.bytes;
    parts.push(openShard(packed, shard, manifest, zstd));
  }
  return Dataset.joined(parts);
}

/** The examples of a packed shard; DataError where it is not the one that the manifest describes. */
function openShard(packed: Uint8Array, shard: Shard, manifest: DataManifest, zstd: Zstd): Dataset {
  const what = `A shard of ${manifest.name}`;
  const size = frameContentSize(packed);
  if (size === null || size > inflatedBytesMax(manifest, shard)) {
    throw new DataError(`${what} is no zstd file of the size that its manifest says.`);
  }
  let inflated: Uint8Array;
  try {
    inflated = zstd.inflate(packed, size);
  } catch (error) {
    throw new DataError(`${what} is damaged: ${(error as Error).message}.`);
  }
  const dataset = unpackShard(inflated, manifest.classes, manifest.scale, what);
  const isRight =
    dataset.length === shard.examples && dataset.inputShape.join() === manifest.inputShape.join();
  if (!isRight) {
    throw new DataError(
      `${what} holds ${dataset.length} examples of [${dataset.inputShape}], but the manifest says ` +
        `${shard.examples} of [${manifest.inputShape}].`,
    );
  }
  return dataset;
}
