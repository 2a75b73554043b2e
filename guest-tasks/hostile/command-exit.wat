;; Attacks: nothing; a `wasi:cli/run@0.2.0` command whose `run` returns an error.
;; Input: standard input, not read.
;; When the host says no: -
;; Must happen: `guest_error` with exit code 1.
(component
  (core module $attack
    (func $run (export "run") (result i32)
      (i32.const 1)))
  (core instance $attack (instantiate $attack))
  (func $run (result (result)) (canon lift (core func $attack "run")))
  (instance $exports (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $exports))
)
