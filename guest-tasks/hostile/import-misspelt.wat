;; Attacks: nothing; imports `wasi:clocks/monotonic-clok@0.2.0`, a letter short.
;; Input: -
;; When the host says no: it never runs.
;; Must happen: `422 unknown_import`, naming it and `wasi:clocks/monotonic-clock` as the nearest known.
(component
  (import "wasi:clocks/monotonic-clok@0.2.0" (instance
    (export "now" (func (result u64)))))
  ;; include skeleton
  (core module $attack
    (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
    (func $run (export "run") (param $at i32) (param $len i32) (result i32)
      (call $answer (i32.const 0) (local.get $at) (local.get $len))))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
)
