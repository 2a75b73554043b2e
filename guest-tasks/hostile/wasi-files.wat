;; Attacks: nothing; asks for the preopened directories.
;; Input: ignored.
;; When the host says no: -
;; Must happen: accepted without a grant; completes and returns their number as one digit: `0`.
(component
  (import "wasi:filesystem/types@0.2.0" (instance $types
    (export "descriptor" (type (sub resource)))))
  (alias export $types "descriptor" (type $descriptor))
  (import "wasi:filesystem/preopens@0.2.0" (instance $preopens
    (export "descriptor" (type $d (eq $descriptor)))
    (export "get-directories" (func (result (list (tuple (own $d) string)))))))
  ;; include skeleton
  (core func $get-directories
    (canon lower (func $preopens "get-directories") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
  (core module $attack
    (import "skeleton" "memory" (memory 1))
    (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
    (import "host" "get-directories" (func $get-directories (param i32)))
    (func $run (export "run") (param $at i32) (param $len i32) (result i32)
      (call $get-directories (i32.const 64))
      (i32.store8 (i32.const 128) (i32.add (i32.const 48) (i32.load (i32.const 68))))
      (call $answer (i32.const 0) (i32.const 128) (i32.const 1))))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))
    (with "host" (instance
      (export "get-directories" (func $get-directories))))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
)
