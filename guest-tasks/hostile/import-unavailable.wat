;; Attacks: grants: imports `omnimind:runtime/vector-memory@0.1.0`.
;; Input: -
;; When the host says no: it never runs.
;; Must happen: not granted, `403 capability_denied` with the JSON to add; granted, `503 capability_unavailable`
;;   for as long as the runtime has no such thing.
(component
  (import "omnimind:runtime/vector-memory@0.1.0" (instance
    (export "collections" (func (result (list string))))))
  ;; include skeleton
  (core module $attack
    (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
    (func $run (export "run") (param $at i32) (param $len i32) (result i32)
      (call $answer (i32.const 0) (local.get $at) (local.get $len))))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
)
