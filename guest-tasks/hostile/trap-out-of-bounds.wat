;; Attacks: nothing; traps with a load at 2^32 - 1.
;; Input: ignored.
;; When the host says no: -
;; Must happen: `trap`, code `memory_out_of_bounds`, with `inner`, `outer` and `run` in the backtrace.
(component
  ;; include skeleton
  (core module $attack
    (import "skeleton" "memory" (memory 1))
    (func $inner (param $zero i32) (result i32)
      (i32.load (i32.sub (local.get $zero) (i32.const 1))))
    (func $outer (param $zero i32) (result i32)
      (i32.add (i32.const 1) (call $inner (local.get $zero))))
    (func $run (export "run") (param $at i32) (param $len i32) (result i32)
      (call $outer (i32.const 0))))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
)
