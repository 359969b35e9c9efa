//! Starting `true` with captured output, eight at once, beside the least that does the same:
//! std's `posix_spawn` with two pipes on as many threads; and tokio's processes. Criterion
//! measures wall time; the example `process_cpu` has the other column.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use holdpoint_benches::process::{
    ARGV, SHELL, Words, holdpoint, runtime, std_threads, tokio_tasks,
};

const PARALLEL: usize = 8;
const COUNT: usize = 500;

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10);
    targets = argv, shell
}
criterion_main!(benches);

fn argv(c: &mut Criterion) {
    compare(c, "process/argv", ARGV);
}

fn shell(c: &mut Criterion) {
    compare(c, "process/shell", SHELL);
}

fn compare(c: &mut Criterion, name: &str, words: Words) {
    let runtime = runtime();
    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::Elements(COUNT as u64));
    group.bench_function(BenchmarkId::new("holdpoint", COUNT), |b| {
        b.iter(|| holdpoint(&runtime, words, COUNT, PARALLEL));
    });
    group.bench_function(BenchmarkId::new("raw", COUNT), |b| {
        b.iter(|| std_threads(words, COUNT, PARALLEL));
    });
    group.bench_function(BenchmarkId::new("tokio", COUNT), |b| {
        b.iter(|| tokio_tasks(&runtime, words, COUNT, PARALLEL));
    });
    group.finish();
}
