;; Attacks: engine features: a memory with 64-bit addresses and a minimum of 16 TiB.
;; Input: ignored.
;; When the host says no: it never runs.
;; Must happen: `400 component_invalid` where memory64 is off; where it is on, `memory_limit`.
(component
  ;; include skeleton
  (core module $attack
    (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
    (memory i64 0x10000000)
    (func $run (export "run") (param $at i32) (param $len i32) (result i32)
      (call $answer (i32.const 0) (local.get $at) (local.get $len))))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
)
