;; Attacks: the report of `memory_bytes`: a refused growth that the guest copes with, then a broken result.
;; Input: ignored.
;; Must happen: `abi_violation`, not `memory_limit`.
(component
  ;; include skeleton
  (core module $attack
    (import "skeleton" "memory" (memory 1))
    (func $run (export "run") (param $at i32) (param $len i32) (result i32)
      (drop (memory.grow (i32.const 20000)))
      (i32.store8 (i32.const 64) (i32.const 77))
      (i32.const 64)))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc")))))
