//! What the benches measure against: bare wasmtime, and OmniMind's limits added one by one.

pub mod peer;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use omnimind::engine::{Flavour, runner_settings};
use omnimind::limits::{Budget, Ledger, Limiter, Limits, MachineMemory, Mode};
use wasmtime::component::{Component, ComponentExportIndex, Func, InstancePre, Linker};
use wasmtime::{Config, Engine, Store, UpdateDeadline};

/// A task that returns nothing at all, in 64 KiB.
pub const EMPTY: &str = r#"
(component
  (core module $m
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
    (func (export "run") (param i32 i32) (result i32) i32.const 16))
  (core instance $i (instantiate $m))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $i "run") (memory $i "memory") (realloc (func $i "realloc")))))
"#;

/// The one in the middle.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The bytes of [`EMPTY`].
pub fn empty() -> Arc<[u8]> {
    wat::parse_str(EMPTY).expect("text").into()
}

/// Which of the store's limits are on.
#[derive(Clone, Copy, Default)]
pub struct On {
    pub asynchronous: bool,
    pub fuel: bool,
    pub epochs: bool,
    pub limiter: bool,
    pub handles: bool,
    pub hook: bool,
}

/// Instantiate, call and drop with nothing of ours around it.
pub struct Bare {
    on: On,
    pre: InstancePre<Option<Limiter>>,
    run: ComponentExportIndex,
    engine: Engine,
    memory: MachineMemory,
}

impl Bare {
    /// The allocator's settings are those of the runtime; only the metering differs.
    pub fn new(on: On) -> Bare {
        let mut config: Config = runner_settings(Flavour::Plain, 50);
        config.consume_fuel(on.fuel).epoch_interruption(on.epochs);
        let engine = Engine::new(&config).expect("an engine");
        let component = Component::from_binary(&engine, &empty()).expect("a component");
        let pre = Linker::new(&engine).instantiate_pre(&component).expect("no imports");
        let run = component.get_export_index(None, "run").expect("run");
        Bare { on, pre, run, engine, memory: MachineMemory::default() }
    }

    /// One task.
    pub fn run(&self) {
        let On { asynchronous, fuel, epochs, limiter, handles, hook } = self.on;
        let limits = Limits::defaults(Mode::Dev);
        let counts = || Limiter::new(Arc::new(Ledger::new(limits)), self.memory.clone(), false);
        let mut store = Store::new(&self.engine, limiter.then(counts));
        if fuel {
            store.set_fuel(limits.get(Budget::Fuel)).expect("fuel is on");
            if asynchronous {
                store.fuel_async_yield_interval(Some(10_000_000)).expect("fuel is on");
            }
        }
        if epochs {
            store.set_epoch_deadline(1);
            store.epoch_deadline_callback(|_| Ok(UpdateDeadline::Continue(1)));
        }
        if limiter {
            store.limiter(|limiter| limiter.as_mut().expect("it is on"));
        }
        if handles {
            store.set_max_component_handles(10_000);
        }
        if hook {
            let ledger = Ledger::new(limits);
            store.call_hook(move |_, _| {
                std::hint::black_box(ledger.remaining(Budget::HostCallBytes));
                Ok(())
            });
        }
        type Run = (Result<Vec<u8>, String>,);
        let run = |func: Func, store: &Store<Option<Limiter>>| {
            func.typed::<(&[u8],), Run>(store).expect("the type of run")
        };
        let output = if asynchronous {
            now(async {
                let instance = self.pre.instantiate_async(&mut store).await.expect("instantiated");
                let func = run(instance.get_func(&mut store, self.run).expect("run"), &store);
                func.call_async(&mut store, (b"",)).await.expect("called").0
            })
        } else {
            let instance = self.pre.instantiate(&mut store).expect("instantiated");
            let func = run(instance.get_func(&mut store, self.run).expect("run"), &store);
            func.call(&mut store, (b"",)).expect("called").0
        };
        assert_eq!(output.expect("an output"), b"");
    }
}

/// A future that never waits, polled without a runtime.
pub fn now<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waited"),
    }
}
