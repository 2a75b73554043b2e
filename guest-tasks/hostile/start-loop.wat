;; Attacks: `fuel` and `wall_ms`, before `run` is called: a core start function that never ends.
;; Input: ignored.
;; When the host says no: it never learns; the host stops it.
;; Must happen: `fuel_exhausted` or `deadline_exceeded` during instantiation, under the same budgets as the
;;   call.
(component
  ;; include skeleton
  (core module $attack
    (import "skeleton" "memory" (memory 1))
    (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
    (start $start)
    (func $start
      (loop $again (br $again)))
    (func $run (export "run") (param $at i32) (param $len i32) (result i32)
      (call $answer (i32.const 0) (local.get $at) (local.get $len))))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
)
