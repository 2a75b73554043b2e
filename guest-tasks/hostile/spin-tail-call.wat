;; Attacks: `fuel` and `wall_ms`, by tail calls: a loop without a loop head.
;; Input: ignored.
;; When the host says no: it never learns; the host stops it.
;; Must happen: `fuel_exhausted` or `deadline_exceeded`, or refused at compile where tail calls are off; never
;;   `stack_overflow`.
(component
  ;; include skeleton
  (core module $attack
    (import "skeleton" "memory" (memory 1))
    (func $run (export "run") (param $at i32) (param $len i32) (result i32)
      (return_call $again (local.get $at) (local.get $len)))
    (func $again (param $at i32) (param $len i32) (result i32)
      (return_call $run (local.get $at) (local.get $len))))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
)
