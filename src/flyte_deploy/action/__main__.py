"""x"""
print("hello")
