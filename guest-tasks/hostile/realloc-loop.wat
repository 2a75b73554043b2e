;; Attacks: `fuel` and `wall_ms`, while the host lowers the input.
;; Input: any.
;; When the host says no: it never learns; the host stops it.
;; Must happen: `fuel_exhausted` or `deadline_exceeded`.
(component
  ;; include skeleton
  (core module $attack
    (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
    (func $realloc (export "realloc") (param i32 i32 i32 i32) (result i32)
      (loop $again (br $again))
      unreachable)
    (func $run (export "run") (param $at i32) (param $len i32) (result i32)
      (call $answer (i32.const 0) (local.get $at) (local.get $len))))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $attack "realloc"))))
)
