;; Attacks: `fuel` and `wall_ms`, by indirect calls of an empty function.
;; Input: ignored.
;; When the host says no: it never learns; the host stops it.
;; Must happen: `fuel_exhausted` or `deadline_exceeded`.
(component
  ;; include skeleton
  (core module $attack
    (import "skeleton" "memory" (memory 1))
    (table funcref (elem $nothing))
    (func $nothing)
    (func $run (export "run") (param $at i32) (param $len i32) (result i32)
      (loop $again
        (call_indirect (i32.const 0))
        (br $again))
      unreachable))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
)
