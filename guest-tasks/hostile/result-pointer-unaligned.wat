;; Attacks: the canonical ABI: the result area is not aligned.
;; Input: ignored.
;; When the host says no: -
;; Must happen: `abi_violation`.
(component
  ;; include skeleton
  (core module $attack
    (import "skeleton" "memory" (memory 1))
    (func $run (export "run") (param $at i32) (param $len i32) (result i32)
      (i32.const 17)))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
)
