;; Attacks: the canonical ABI: an output list of 2^32 - 1 bytes in a memory of 64 KiB.
;; Input: ignored.
;; When the host says no: -
;; Must happen: `abi_violation`, and no allocation of the claimed size.
(component
  ;; include skeleton
  (core module $attack
    (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
    (func $run (export "run") (param $at i32) (param $len i32) (result i32)
      (call $answer (i32.const 0) (i32.const 8) (i32.const 0xffffffff))))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
)
